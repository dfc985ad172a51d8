//! What is issued is what verifiers of others accept, and authorities follow one another without a gap.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

mod devices;

use super::*;
use crate::{
    devices::{DeviceId, testing::TestFleet},
    kernel::{EntityId, PublicKey, SigningKey, Timestamp},
};

const DAY: u64 = 86_400;

fn key(seed: u64) -> SigningKey {
    SigningKey::generate(&crate::kernel::SeededRandom::new(seed))
}

fn device(n: u128) -> DeviceId {
    DeviceId::from_uuid(uuid::Uuid::from_u128(n))
}

/// Verifies a certificate against a bundle as a TLS library does; whom it names, or why it is refused.
fn verify(bundle: &[Vec<u8>], certificate: &[u8], usage: KeyUsage, at: Timestamp) -> Result<Peer, String> {
    let roots: Vec<CertificateDer<'_>> = bundle.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors: Vec<_> = roots
        .iter()
        .map(|root| anchor_from_trusted_cert(root).unwrap())
        .collect();
    let certificate = CertificateDer::from(certificate);
    let leaf = EndEntityCert::try_from(&certificate).map_err(|error| error.to_string())?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(at.as_seconds().unsigned_abs()));
    leaf.verify_for_usage(&[webpki::aws_lc_rs::ED25519], &anchors, &[], time, usage, None, None)
        .map_err(|error| error.to_string())?;
    let mut uris = leaf.valid_uri_names();
    let peer = uris.next().and_then(Peer::from_uri).ok_or("it names nobody")?;
    assert_eq!(uris.next(), None);
    Ok(peer)
}

#[tokio::test]
async fn a_devices_certificate_is_good_for_a_day_and_for_clients_only() {
    let test = TestFleet::new().await;
    let certificates = test.fleet.certificates();
    let issued = certificates.issue_for(device(7), &key(1).public()).unwrap().0;
    let bundle = certificates.bundle();
    let now = test.clock_now();
    let check = |seconds: i64, usage, expected: Result<Peer, &str>| {
        let at = Timestamp::from_seconds(now.as_seconds() + seconds);
        let got = verify(&bundle, &issued.certificate, usage, at);
        assert_eq!(
            got.as_ref()
                .map_err(|why| why.split([' ', '(']).next().unwrap_or_default()),
            expected.as_ref().map_err(|why| *why),
            "{seconds}: {got:?}"
        );
    };
    check(0, KeyUsage::client_auth(), Ok(Peer::Device(device(7))));
    check(-3_599, KeyUsage::client_auth(), Ok(Peer::Device(device(7))));
    check(86_399, KeyUsage::client_auth(), Ok(Peer::Device(device(7))));
    check(86_401, KeyUsage::client_auth(), Err("CertExpired"));
    check(-3_700, KeyUsage::client_auth(), Err("CertNotValidYet"));
    check(0, KeyUsage::server_auth(), Err("RequiredEkuNotFoundContext"));
}

#[tokio::test]
async fn a_servers_certificate_has_its_names_and_is_good_for_servers_only() {
    let test = TestFleet::new().await;
    let certificates = test.fleet.certificates();
    let names = ["fleet.example.org", "192.0.2.7", "2001:db8::7"].map(String::from);
    let server = uuid::Uuid::from_u128(9);
    let issued = certificates.issue_server(server, &key(2).public(), &names).unwrap();
    let (bundle, now) = (certificates.bundle(), test.clock_now());
    assert_eq!(
        verify(&bundle, &issued.certificate, KeyUsage::server_auth(), now),
        Ok(Peer::Server(server))
    );
    assert!(verify(&bundle, &issued.certificate, KeyUsage::client_auth(), now).is_err());
    let der = CertificateDer::from(issued.certificate.as_slice());
    let leaf = EndEntityCert::try_from(&der).unwrap();
    for name in names {
        let name = rustls_pki_types::ServerName::try_from(name).unwrap();
        leaf.verify_is_valid_for_subject_name(&name).unwrap();
    }
    let other = rustls_pki_types::ServerName::try_from("other.example.org").unwrap();
    assert!(leaf.verify_is_valid_for_subject_name(&other).is_err());
}

#[tokio::test]
async fn another_fleets_certificates_are_worth_nothing_here() {
    let (here, there) = (TestFleet::new().await, TestFleet::over_seed(99).await);
    let foreign = there
        .fleet
        .certificates()
        .issue_for(device(7), &key(1).public())
        .unwrap()
        .0;
    let got = verify(
        &here.fleet.certificates().bundle(),
        &foreign.certificate,
        KeyUsage::client_auth(),
        here.clock_now(),
    );
    assert!(got.is_err(), "{got:?}");
}

#[tokio::test]
async fn a_restarted_server_trusts_and_issues_as_before() {
    let test = TestFleet::new().await;
    let before = test.fleet.certificates().bundle();
    let again = test.restarted().await;
    assert_eq!(again.fleet.certificates().bundle(), before);
    let issued = again
        .fleet
        .certificates()
        .issue_for(device(7), &key(1).public())
        .unwrap()
        .0;
    assert!(verify(&before, &issued.certificate, KeyUsage::client_auth(), test.clock_now()).is_ok());
}

async fn states(test: &TestFleet) -> String {
    let all = test.fleet.certificates().list(&test.admin()).await.unwrap();
    all.iter()
        .map(|authority| authority.state.name())
        .collect::<Vec<_>>()
        .join(" ")
}

#[tokio::test]
async fn authorities_follow_one_another_by_themselves_and_no_certificate_fails_between() {
    let test = TestFleet::new().await;
    let certificates = test.fleet.certificates();
    let mut said = vec![states(&test).await];
    let mut issued: Vec<(Vec<u8>, PublicKey)> = Vec::new();
    for day in 0..3_650_u64 {
        // Devices renew every day; what they had a day ago still verifies with the bundle of today.
        let now = test.clock_now();
        let bundle = certificates.bundle();
        for (certificate, _) in issued.drain(..) {
            let earlier = now.minus(Duration::from_secs(60));
            verify(&bundle, &certificate, KeyUsage::client_auth(), earlier)
                .unwrap_or_else(|why| panic!("day {day}: {why}"));
        }
        let subject = key(day).public();
        issued.push((
            certificates.issue_for(device(1), &subject).unwrap().0.certificate,
            subject,
        ));
        if day % 10 == 0 || said.len() > 1 && said.len() < 5 {
            certificates.turn_over().await.unwrap();
            let now = states(&test).await;
            if said.last() != Some(&now) {
                said.push(now);
            }
        }
        test.clock.advance(Duration::from_secs(DAY));
    }
    assert_eq!(said, ["issuing", "issuing announced", "issuing retiring", "issuing"]);
}

#[tokio::test]
async fn steps_that_would_leave_a_gap_are_refused() {
    let test = TestFleet::new().await;
    let (certificates, admin) = (test.fleet.certificates(), test.admin());
    let first = certificates.list(&admin).await.unwrap()[0].id;
    assert_eq!(
        certificates.delete(&admin, first).await.unwrap_err().code(),
        AUTHORITY_IN_USE
    );
    assert_eq!(
        certificates.promote(&admin, first).await.unwrap_err().code(),
        AUTHORITY_IN_USE
    );
    let brought = key(77);
    let next = certificates.announce(&admin, Some(&brought)).await.unwrap();
    assert_eq!(
        certificates.announce(&admin, None).await.unwrap_err().code(),
        AUTHORITY_IN_USE
    );
    assert_eq!(
        certificates.promote(&admin, next.id).await.unwrap().state,
        AuthorityState::Issuing
    );
    assert_eq!(states(&test).await, "issuing retiring");
    certificates.delete(&admin, first).await.unwrap();
    assert_eq!(
        certificates.delete(&admin, first).await.unwrap_err().code(),
        AUTHORITY_NOT_FOUND
    );
    let nobody = certificates.list(&test.nobody()).await.unwrap_err();
    assert_eq!(nobody.code().name(), "access.denied");
}

#[test]
fn peers_are_read_as_they_are_written_and_in_no_other_form() {
    for peer in [Peer::Device(device(3)), Peer::Server(uuid::Uuid::from_u128(4))] {
        assert_eq!(Peer::from_uri(&peer.to_string()), Some(peer));
    }
    let id = "00000000-0000-0000-0000-00000000000a";
    for wrong in [
        format!("spiffe://fleet/user/{id}"),
        format!("spiffe://other/device/{id}"),
        format!("spiffe://fleet/device/{}", id.to_uppercase()),
        format!("spiffe://fleet/device/{id}/x"),
        "spiffe://fleet/device/".into(),
        String::new(),
    ] {
        assert_eq!(Peer::from_uri(&wrong), None, "{wrong}");
    }
}

#[test]
fn a_private_key_is_read_as_openssl_writes_it_and_in_no_other_form() {
    let check = |pem: &str, expected: Option<&str>| {
        let got = read_private_key(pem).ok().map(|key| hex::encode(*key.to_bytes()));
        assert_eq!(got.as_deref(), expected, "{pem}");
    };
    // RFC 8410 §10.3, without its attributes.
    let good = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    let secret = "d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842";
    check(good, Some(secret));
    check(&good.replace('\n', "\r\n"), Some(secret));
    check(&good.replace("MC4C", "MC4D"), None);
    check(&good.replace("VhC", ""), None);
    check(&good.replace("PRIVATE", "ENCRYPTED PRIVATE"), None);
    check(&good.replace("MC4C", &"A".repeat(100_000)), None);
    check("", None);
}

#[test]
fn the_next_certificate_is_asked_for_in_the_third_quarter_of_the_time_of_this_one() {
    let issued = Timestamp::from_seconds(1_800_000_000);
    let check = |spread, hours: f64| {
        let at = renew_at(issued, issued.plus(DEVICE_LIFE), spread);
        assert_eq!(at.since(issued).as_secs(), (hours * 3_600.0) as u64, "{spread}");
    };
    check(0, 12.0);
    check(128, 13.5);
    // Well before two thirds are over.
    assert!(renew_at(issued, issued.plus(DEVICE_LIFE), 255) < issued.plus(DEVICE_LIFE * 2 / 3));
}
