//! What is signed: welcome, offer, enrolment and its answer, assertions. The signatures pin the very bytes that are signed.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fleet_core::{
    devices::{
        DeviceId,
        enrolment::{EnrolRequest, EnrolmentSecret, Machine},
    },
    kernel::SeededRandom,
    protocol::{
        Assertion, CertificateAnswer, CertificateBody, EnrolAnswer, EnrolAnswerBody, KeyAgreement, KeyAnswer,
        KeyRequest, Offer, OfferBody, OfferError, TrustAnswer, TrustBody, Welcome, WelcomeBody, agree, body_digest,
    },
};
use serde_json::{Value as Json, json};

use crate::values::{at, id, key};

const IDENTITY: u64 = 100;
const DISPATCH: u64 = 101;
const DEVICE: u64 = 102;
const NONCE: &str = "AAECAwQFBgcICQoLDA0ODw";

fn device() -> DeviceId {
    id(10)
}

pub fn welcome() -> Welcome {
    let body = WelcomeBody {
        nonce: NONCE.into(),
        device: device(),
        protocol: 1,
        server_version: "0.1.0".into(),
        epoch: 7,
        time: at(0),
        heartbeat_seconds: 30,
        poll_seconds: 10,
        dispatch_key: key(DISPATCH).public(),
    };
    Welcome::sign(body, &key(IDENTITY)).unwrap()
}

pub fn offer() -> Offer {
    let body = OfferBody {
        run: id(20),
        device: device(),
        epoch: 7,
        kind: "shell".into(),
        secrets: Vec::new(),
        params: json!({"script": "uname -a", "interpreter": "/bin/sh", "environment": {"B": "2", "A": "1"}}).into(),
        expires_at: at(3_600),
        timeout_seconds: 300,
        output_limit_bytes: 4 << 20,
        idempotent: false,
        exclusive: true,
    };
    Offer::sign(body, &key(DISPATCH)).unwrap()
}

fn enrol_request() -> EnrolRequest {
    let machine = Machine {
        hostname: "web-01.example.org".into(),
        machine_id: Some("0123456789abcdef0123456789abcdef".into()),
        agent_version: "0.1.0".into(),
    };
    let secret = EnrolmentSecret::generate(&SeededRandom::new(5));
    EnrolRequest::prove(secret, &key(DEVICE), [7; 32], machine)
}

fn enrol_answer() -> EnrolAnswer {
    let body = EnrolAnswerBody {
        nonce: URL_SAFE_NO_PAD.encode([7; 32]),
        device: device(),
        name: "web-01.example.org".into(),
        known: false,
        public_key: key(DEVICE).public(),
        time: at(0),
    };
    EnrolAnswer::sign(body, &key(IDENTITY)).unwrap()
}

fn assertion() -> String {
    let random = SeededRandom::new(6);
    let body = br#"{"epoch":7,"frames":[],"wait_seconds":0}"#;
    Assertion::sign(
        &key(DEVICE),
        device(),
        at(0),
        &random,
        "POST",
        "/agent/v1/exchange",
        body,
    )
}

/// What is asked and answered to agree on a session key.
pub fn key_agreement() -> (KeyRequest, KeyAnswer) {
    let request = KeyAgreement::begin(&SeededRandom::new(7)).request();
    let (_, answer) = agree(&request, device(), 7, &key(IDENTITY), &SeededRandom::new(8)).unwrap();
    (request, answer)
}

#[test]
fn session_key_and_its_proof() {
    let (request, answer) = key_agreement();
    let agent = KeyAgreement::begin(&SeededRandom::new(7));
    let agreed = agent
        .finish(&journey(&answer), &key(IDENTITY).public(), device(), 7)
        .unwrap();
    let proof = agreed.prove(device(), 3, "POST", "/agent/v1/exchange", b"{}");
    let texts = [
        serde_json::to_string_pretty(&request).unwrap(),
        serde_json::to_string_pretty(&answer).unwrap(),
        proof,
    ];
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn welcome_and_offer() {
    let texts = [
        serde_json::to_string_pretty(&welcome()),
        serde_json::to_string_pretty(&offer()),
    ];
    insta::assert_snapshot!(texts.map(Result::unwrap).join("\n"));
}

#[test]
fn enrolment_and_its_answer() {
    let texts = [
        serde_json::to_string_pretty(&enrol_request()),
        serde_json::to_string_pretty(&enrol_answer()),
    ];
    insta::assert_snapshot!(texts.map(Result::unwrap).join("\n"));
}

fn trust_answer() -> TrustAnswer {
    let body = TrustBody {
        nonce: NONCE.into(),
        authorities: vec!["MIIBAA==".into()],
        time: at(0),
    };
    TrustAnswer::sign(body, &key(IDENTITY)).unwrap()
}

fn certificate_answer() -> CertificateAnswer {
    let body = CertificateBody {
        nonce: NONCE.into(),
        device: device(),
        certificate: "MIIBAQ==".into(),
        renew_at: at(43_200),
        not_after: at(86_400),
        authorities: vec!["MIIBAA==".into()],
        time: at(0),
    };
    CertificateAnswer::sign(body, &key(IDENTITY)).unwrap()
}

#[test]
fn trust_and_certificates() {
    let texts = [
        serde_json::to_string_pretty(&trust_answer()),
        serde_json::to_string_pretty(&certificate_answer()),
    ];
    insta::assert_snapshot!(texts.map(Result::unwrap).join("\n"));
}

#[test]
fn assertion_and_its_claims() {
    let text = assertion();
    let claims = Assertion::parse(&text).unwrap().claims;
    insta::assert_snapshot!(format!("{}\n{text}", serde_json::to_string_pretty(&claims).unwrap()));
    assert_eq!(claims.body, body_digest(br#"{"epoch":7,"frames":[],"wait_seconds":0}"#));
}

#[test]
fn what_was_signed_verifies_after_the_journey() {
    let identity = key(IDENTITY).public();
    let welcome: Welcome = journey(&welcome());
    assert!(welcome.verify(&identity, NONCE));
    let offer: Offer = journey(&offer());
    assert_eq!(offer.verify(&key(DISPATCH).public(), device(), 7, at(0)), Ok(()));
    let answer: EnrolAnswer = journey(&enrol_answer());
    assert!(answer.verify(&identity, &URL_SAFE_NO_PAD.encode([7; 32]), &key(DEVICE).public()));
    assert_eq!(journey(&enrol_request()), enrol_request());
    assert!(journey(&trust_answer()).verify(&identity, NONCE));
    assert!(journey(&certificate_answer()).verify(&identity, NONCE, device()));
}

/// Fail closed: an agent must not execute the part of an offer that it understands. A server therefore adds a member to what
/// is signed only in sessions whose protocol version knows it.
#[test]
fn an_offer_with_a_signed_member_that_is_not_known_is_refused() {
    let mut body = serde_json::to_value(offer().body).unwrap();
    body["confined_to"] = "/srv".into();
    let message = fleet_core::kernel::canonical::to_vec(&body).unwrap();
    let later = json!({"body": body, "signature": key(DISPATCH).sign("fleet offer v1", &message)});
    let offer: Offer = serde_json::from_value(later).unwrap();
    let verdict = offer.verify(&key(DISPATCH).public(), device(), 7, at(0));
    assert_eq!(verdict, Err(OfferError::Forged));
}

fn journey<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    // Through a value, so that the order of members is another than that of the struct.
    let value: Json = serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap();
    serde_json::from_str(&value.to_string()).unwrap()
}
