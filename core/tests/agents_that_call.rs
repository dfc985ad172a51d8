//! What a server says to an agent whose device it does not have.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use fleet_core::{
    Fleet,
    access::{Context, Origin},
    devices::{
        DeviceId,
        enrolment::{EnrolRequest, Machine, NewEnrolmentToken},
    },
    kernel::{ManualClock, MasterKey, Randomness, SeededRandom, SigningKey, Timestamp},
    protocol::Assertion,
    store::memory::MemoryStore,
};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const REQUEST: (&str, &str, &[u8]) = ("POST", "/agent/v1/exchange", b"{}");

async fn fleet() -> Fleet {
    let clock = Arc::new(ManualClock::new(NOW));
    let backend = Arc::new(MemoryStore::new(clock.clone()));
    let key = MasterKey::generate(&SeededRandom::new(1));
    Fleet::builder(backend, key).clock(clock).open().await.unwrap()
}

async fn enrol(fleet: &Fleet, key: &SigningKey) -> DeviceId {
    let admin = Context::system("test");
    let token = NewEnrolmentToken::default();
    let (_, secret) = fleet.enrolment().create_token(&admin, &token).await.unwrap();
    let request = EnrolRequest::prove(secret, key, [7; 32], Machine::default());
    let enrolled = fleet.enrolment().enrol(&request, Origin::default()).await.unwrap();
    enrolled.device_id
}

/// What the server says to an assertion of this device: its code, or `welcome`.
async fn answer(fleet: &Fleet, key: &SigningKey, device: DeviceId, random: &dyn Randomness) -> &'static str {
    let (method, path, body) = REQUEST;
    let assertion = Assertion::sign(key, device, NOW, random, method, path, body);
    match fleet.link().authenticate(&assertion, method, path, body).await {
        Ok(_) => "welcome",
        Err(error) => error.code().name(),
    }
}

#[tokio::test]
async fn only_an_agent_whose_device_was_deleted_here_is_told_that_it_is_gone() {
    let (fleet, random) = (fleet().await, SeededRandom::new(2));
    let key = SigningKey::generate(&random);
    let device = enrol(&fleet, &key).await;
    assert_eq!(answer(&fleet, &key, device, &random).await, "welcome");
    fleet
        .devices()
        .delete(&Context::system("test"), device, None)
        .await
        .unwrap();
    assert_eq!(answer(&fleet, &key, device, &random).await, "device.gone");
    // A device that this server never had, as after it was set back to an older state: its agent goes on trying.
    let never = DeviceId::new(NOW, &random);
    assert_eq!(answer(&fleet, &key, never, &random).await, "device.not_found");
}
