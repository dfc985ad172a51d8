//! What is too large for parameters on its way to a device, over a real connection.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use bytes::Bytes;
use fleet_agent_lib::{
    clock::ServerClock,
    contents::{ContentError, Contents as _},
    enrol,
    identity::Identity,
    link::Http,
};
use fleet_api::{ApiConfig, ApiListener, Ports, serve_on};
use fleet_core::{
    Fleet,
    access::Context,
    blobs::{BlobDigest, MAX_CONTENT},
    devices::enrolment::{Machine, NewEnrolmentToken, TokenText},
    kernel::{ManualClock, MasterKey, SeededRandom, Timestamp},
    store::memory::MemoryStore,
};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_device_fetches_a_content_by_its_digest_and_learns_why_when_it_does_not_come() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000)));
    let random = Arc::new(SeededRandom::new(1));
    let fleet = Fleet::builder(Arc::new(MemoryStore::new(clock.clone())), MasterKey::generate(&*random))
        .clock(clock.clone())
        .random(random.clone())
        .blobs(Arc::new(object_store::memory::InMemory::new()))
        .open()
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let ports = Ports {
        api: ApiListener::Plain(listener),
        agents: None,
    };
    let served = serve_on(fleet.clone(), ApiConfig::default(), ports, std::future::pending());
    let serving = tokio::spawn(async move { served.await.unwrap() });
    let system = Context::system("test");
    let (_, secret) = fleet
        .enrolment()
        .create_token(&system, &NewEnrolmentToken::default())
        .await
        .unwrap();
    let token = TokenText {
        address,
        identity: fleet.keys().identity().public(),
        ca: None,
        secret,
    };
    let token = token.encode().unwrap().to_string();
    let state = tempfile::tempdir().unwrap();
    let joined = enrol::enrol(state.path(), &token, Machine::default(), clock.clone(), random.clone()).await;
    let identity = joined.unwrap().identity;
    let agent = |identity: Identity| {
        let clock = Arc::new(ServerClock::new(clock.clone()));
        Http::new(Arc::new(identity), state.path(), clock, random.clone()).unwrap()
    };

    let content: Vec<u8> = (0..MAX_CONTENT).map(|n| (n % 251) as u8).collect();
    let body = futures::stream::iter([Ok(Bytes::from(content.clone()))]);
    let blob = fleet.blobs().upload(&system, body).await.unwrap();
    assert!(agent(identity.clone()).fetch(blob.digest).await.unwrap() == content);
    let missing = agent(identity.clone()).fetch(BlobDigest::from_bytes([7; 32])).await;
    assert!(matches!(missing, Err(ContentError::Missing)));

    serving.abort();
    let nowhere = Identity {
        address: "http://127.0.0.1:9".into(),
        ..identity
    };
    let away = agent(nowhere).fetch(blob.digest).await;
    assert!(matches!(away, Err(ContentError::Unreachable(_))));
}
