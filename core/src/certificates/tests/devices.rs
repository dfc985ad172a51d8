//! Which certificate of a device counts, and for how long.

use super::*;
use crate::{
    devices::{
        device::DeviceChange,
        enrolment::{EnrolmentSecret, NewEnrolmentToken},
    },
    kernel::Clock as _,
    protocol::{Assertion, CertificateAnswer, CertificateRequest},
};

const PATH: &str = "/agent/v1/certificate";
const HOUR: u64 = 3_600;

/// What happens to a device that has one certificate, in order.
enum Step {
    /// It asks for the next one, signing with its key; what it is answered.
    Renew(&'static str),
    /// So many seconds pass.
    Wait(u64),
    /// An operator revokes its key.
    Revoke,
    /// An operator keeps it out, or lets it in again.
    Disable(bool),
    /// It is enrolled again, with a new key.
    EnrolAgain,
    /// Somebody tries to enrol it again with the key that it has; the answer.
    EnrolWithSameKey(&'static str),
    /// The fleet's next authority issues, at once.
    Rotate,
    /// The authorities that do not issue are trusted no more.
    Distrust,
    /// It presents the certificate that it got as the n-th, from 0; what it is answered.
    Present(usize, &'static str),
}
use Step::*;

struct World {
    test: TestFleet,
    secret: EnrolmentSecret,
    device: DeviceId,
    key: SigningKey,
    certificates: Vec<CertificateAnswer>,
}

impl World {
    async fn new() -> Self {
        let test = TestFleet::new().await;
        let new = NewEnrolmentToken {
            max_uses: 9,
            expires_in_seconds: 40 * DAY,
            ..NewEnrolmentToken::default()
        };
        let (secret, key) = (test.token(new).await, test.key());
        let device = test.enrol_as(&secret, &key, "web", Some("m1")).await.unwrap().device_id;
        let mut world = Self {
            test,
            secret,
            device,
            key,
            certificates: Vec::new(),
        };
        assert_eq!(world.renew().await, "ok");
        world
    }

    /// As the agent does it: by an assertion with the device's key.
    async fn renew(&mut self) -> &'static str {
        let link = self.test.fleet.link();
        let request = CertificateRequest { nonce: "n".into() };
        let body = serde_json::to_vec(&request).unwrap();
        let (now, random) = (self.test.clock.now(), &*self.test.random);
        let assertion = Assertion::sign(&self.key, self.device, now, random, "POST", PATH, &body);
        let linked = match link.authenticate(&assertion, "POST", PATH, &body).await {
            Ok(linked) => linked,
            Err(error) => return error.code().name(),
        };
        match link.certify(&linked, &request).await {
            Ok(answer) => {
                let identity = self.test.fleet.keys().identity().public();
                assert!(answer.verify(&identity, "n", self.device));
                assert!(!answer.verify(&identity, "m", self.device));
                assert!(!answer.verify(&self.key.public(), "n", self.device));
                self.certificates.push(answer);
                "ok"
            }
            Err(error) => error.code().name(),
        }
    }

    async fn present(&self, n: usize) -> &'static str {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let der = STANDARD.decode(&self.certificates[n].body.certificate).unwrap();
        let presented = PresentedCertificate::read(&der).unwrap();
        let stays = self.test.fleet.link().check_certified(self.device).await.is_ok();
        match self.test.fleet.link().authenticate_certificate(&presented).await {
            Ok(linked) => {
                assert!(stays);
                assert_eq!(linked.id, self.device);
                let bundle = self.test.fleet.certificates().bundle();
                let usage = KeyUsage::client_auth();
                verify(&bundle, &der, usage, self.test.clock_now()).map_or("not trusted", |_| "ok")
            }
            Err(error) => error.code().name(),
        }
    }

    async fn take(&mut self, step: &Step) -> (&'static str, &'static str) {
        let (test, admin) = (&self.test, self.test.admin());
        match step {
            Renew(expected) => return (self.renew().await, expected),
            Present(n, expected) => return (self.present(*n).await, expected),
            EnrolWithSameKey(expected) => {
                let got = test.enrol_as(&self.secret, &self.key, "web", Some("m1")).await;
                return (got.map_or_else(|error| error.code().name(), |_| "ok"), expected);
            }
            Wait(seconds) => test.advance(*seconds),
            Revoke => drop(test.fleet.devices().revoke(&admin, self.device).await.unwrap()),
            Disable(disabled) => {
                let change = DeviceChange {
                    disabled: Some(*disabled),
                    ..DeviceChange::default()
                };
                test.fleet
                    .devices()
                    .set(&admin, self.device, None, &change)
                    .await
                    .unwrap();
            }
            EnrolAgain => {
                self.key = test.key();
                let enrolled = test.enrol_as(&self.secret, &self.key, "web", Some("m1")).await.unwrap();
                assert_eq!(enrolled.device_id, self.device);
            }
            Rotate => {
                let next = test.fleet.certificates().announce(&admin, None).await.unwrap();
                test.fleet.certificates().promote(&admin, next.id).await.unwrap();
            }
            Distrust => {
                let certificates = test.fleet.certificates();
                for authority in certificates.list(&admin).await.unwrap().into_iter().skip(1) {
                    certificates.delete(&admin, authority.id).await.unwrap();
                }
            }
        }
        ("ok", "ok")
    }
}

async fn check(steps: &[Step]) {
    let mut world = World::new().await;
    for (place, step) in steps.iter().enumerate() {
        let (got, expected) = world.take(step).await;
        assert_eq!(got, expected, "step {place}");
    }
}

#[tokio::test]
async fn the_newest_certificate_counts_for_a_day_and_those_before_it_no_more() {
    check(&[
        Present(0, "ok"),
        Wait(12 * HOUR),
        Renew("ok"),
        Present(0, "certificate.superseded"),
        Present(1, "ok"),
        Wait(24 * HOUR - 1),
        Present(1, "ok"),
        Wait(1),
        Present(1, "certificate.expired"),
    ])
    .await;
}

#[tokio::test]
async fn a_device_that_was_away_for_thirty_days_gets_its_next_certificate_by_its_key() {
    check(&[
        Wait(30 * DAY),
        Present(0, "certificate.expired"),
        Renew("ok"),
        Present(1, "ok"),
    ])
    .await;
    // Also when the authority that it knew is gone by then.
    check(&[Wait(DAY), Rotate, Wait(29 * DAY), Renew("ok"), Present(1, "ok")]).await;
}

#[tokio::test]
async fn a_revoked_device_stays_out_until_it_is_enrolled_again_with_a_new_key() {
    check(&[
        Revoke,
        Present(0, "device.revoked"),
        Renew("device.revoked"),
        EnrolWithSameKey("device.revoked"),
        Revoke,
        EnrolAgain,
        Present(0, "certificate.superseded"),
        Renew("ok"),
        Present(1, "ok"),
    ])
    .await;
}

#[tokio::test]
async fn a_disabled_device_is_kept_out_whatever_it_presents_and_comes_back_as_it_was() {
    check(&[
        Disable(true),
        Present(0, "device.disabled"),
        Renew("device.disabled"),
        Disable(false),
        Present(0, "ok"),
    ])
    .await;
}

#[tokio::test]
async fn certificates_of_a_retiring_authority_count_until_they_end() {
    check(&[
        Wait(HOUR),
        Rotate,
        Present(0, "ok"),
        Renew("ok"),
        Present(1, "ok"),
        Wait(DAY),
        Present(1, "certificate.expired"),
    ])
    .await;
}

#[tokio::test]
async fn certificates_of_an_authority_that_is_trusted_no_more_are_worth_nothing() {
    check(&[
        Wait(HOUR),
        Rotate,
        Present(0, "ok"),
        Distrust,
        Present(0, "certificate.superseded"),
        Renew("ok"),
        Present(1, "ok"),
    ])
    .await;
}

#[tokio::test]
async fn certificates_of_another_class_and_of_nobody_are_no_devices() {
    let world = World::new().await;
    let link = world.test.fleet.link();
    let certificates = world.test.fleet.certificates();
    let server = certificates
        .issue_server(uuid::Uuid::nil(), &key(3).public(), &[])
        .unwrap();
    let presented = PresentedCertificate::read(&server.certificate).unwrap();
    assert_eq!(presented.peer, Peer::Server(uuid::Uuid::nil()));
    let refused = link.authenticate_certificate(&presented).await.unwrap_err();
    assert_eq!(refused.code().name(), "certificate.other_class");
    let authority = certificates.bundle()[0].clone();
    assert_eq!(PresentedCertificate::read(&authority), None);
    assert_eq!(PresentedCertificate::read(b"no certificate"), None);
}

#[tokio::test]
async fn a_certificate_counts_only_over_the_key_that_the_device_enrolled_with() {
    // Whoever has the key of a trusted authority can write any name and serial number into a certificate.
    let world = World::new().await;
    let der = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        &world.certificates[0].body.certificate,
    );
    let issued = PresentedCertificate::read(&der.unwrap()).unwrap();
    assert_eq!(issued.key, world.key.public());
    let forged = PresentedCertificate {
        key: key(3).public(),
        ..issued.clone()
    };
    let link = world.test.fleet.link();
    assert!(link.authenticate_certificate(&issued).await.is_ok());
    let refused = link.authenticate_certificate(&forged).await.unwrap_err();
    assert_eq!(refused.code().name(), "certificate.superseded");
}

#[tokio::test]
async fn issuing_and_revoking_leave_their_evidence() {
    let world = World::new().await;
    let serial = {
        let device = world
            .test
            .fleet
            .devices()
            .show(&world.test.admin(), world.device)
            .await
            .unwrap();
        device.certificate.unwrap().serial
    };
    let events = world.test.events().await;
    let issued = events
        .iter()
        .find(|event| event.event == "device.certificate_issued")
        .unwrap();
    assert_eq!(issued.details["serial"], serial);
    let nobody = world
        .test
        .fleet
        .devices()
        .revoke(&world.test.nobody(), world.device)
        .await;
    assert_eq!(nobody.unwrap_err().code().name(), "access.denied");
    world.test.advance(1);
    world
        .test
        .fleet
        .devices()
        .revoke(&world.test.admin(), world.device)
        .await
        .unwrap();
    let entry = world.test.audit().await.remove(0);
    assert_eq!(
        (entry.action.as_str(), &entry.details["serial"]),
        ("device.revoke", &serial.into())
    );
}

#[tokio::test]
async fn anybody_learns_the_present_authorities_from_the_pinned_server_alone() {
    let world = World::new().await;
    let (fleet, identity) = (&world.test.fleet, world.test.fleet.keys().identity().public());
    let answer = fleet.link().trust(&CertificateRequest { nonce: "n1".into() }).unwrap();
    assert!(answer.verify(&identity, "n1"));
    assert!(!answer.verify(&identity, "n2"));
    assert_eq!(answer.body.authorities.len(), 1);
    let mut altered = answer.clone();
    altered.body.authorities.clear();
    assert!(!altered.verify(&identity, "n1"));
    for nonce in ["", &"n".repeat(65), "\0"] {
        assert!(fleet.link().trust(&CertificateRequest { nonce: nonce.into() }).is_err());
    }
}
