//! What a server remembers of a device between two requests, and when it no longer does; session keys and their proofs.

mod direct;
mod manifests;

use std::{future::Future, time::Duration};

use tokio::{task::JoinHandle, time::timeout};

use super::{LinkedDevice, Session, follow, known::Found};
use crate::{
    Fleet,
    access::{Context, Origin},
    devices::{
        DeviceId,
        device::DeviceChange,
        enrolment::{EnrolRequest, Machine, NewEnrolmentToken},
        testing::TestFleet,
    },
    kernel::{Clock as _, Result, SigningKey, random_bytes},
    protocol::{Assertion, Hello, KeyAgreement, PROTOCOL, PROTOCOL_MIN, ServerFrame, SessionKey},
    work::{BatchRequest, batch::Targets},
};

const REQUEST: (&str, &str, &[u8]) = ("POST", "/agent/v1/exchange", b"{}");

/// Two servers on one store, and one device that talks to the first, which follows the feed.
struct World {
    here: TestFleet,
    there: TestFleet,
    device: DeviceId,
    key: SigningKey,
    following: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl World {
    async fn new() -> Self {
        let here = TestFleet::new().await;
        let there = here.restarted().await;
        let key = SigningKey::generate(&*here.random);
        let device = enrol(&here.fleet, &key).await;
        let fleet = here.fleet.clone();
        let following = tokio::spawn(async move { follow(&fleet).await });
        let world = Self {
            here,
            there,
            device,
            key,
            following,
        };
        world.until(|| world.here.fleet.known_devices().is_following()).await;
        world
    }

    /// The feed is followed by a task of its own.
    async fn until(&self, done: impl Fn() -> bool + Send + Sync) {
        let wait = async {
            while !done() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), wait).await.unwrap();
    }

    fn is_known(&self) -> bool {
        let now = self.here.clock.now();
        self.here.fleet.known_devices().find(self.device, now).is_some()
    }

    fn is_idle(&self) -> bool {
        let now = self.here.clock.now();
        self.here.fleet.known_devices().is_settled(self.device, 0, now)
    }

    async fn linked(&self, key: &SigningKey) -> Result<LinkedDevice> {
        let (method, path, body) = REQUEST;
        let (now, random) = (self.here.clock.now(), &*self.here.random);
        let assertion = Assertion::sign(key, self.device, now, random, method, path, body);
        self.here
            .fleet
            .link()
            .authenticate(&assertion, method, path, body)
            .await
    }

    /// What a signed request is answered with.
    async fn signed(&self) -> &'static str {
        code(self.linked(&self.key).await)
    }

    async fn session(&self) -> Session {
        self.session_with(None).await
    }

    /// A session of an agent that has this manifest.
    async fn session_with(&self, manifest: Option<String>) -> Session {
        let hello = Hello {
            nonce: "n".into(),
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL,
            agent_version: "1".into(),
            operations: Vec::new(),
            manifest,
        };
        let device = self.linked(&self.key).await.unwrap();
        self.here.fleet.link().open(&device, hello).await.unwrap().0
    }

    async fn due(&self, session: &Session) -> Vec<ServerFrame> {
        self.here.fleet.link().pending(session).await.unwrap()
    }

    async fn agree(&self, session: &Session) -> SessionKey {
        let agent = KeyAgreement::begin(&*self.here.random);
        let device = self.linked(&self.key).await.unwrap();
        let answer = self.here.fleet.link().agree(&device, session, &agent.request());
        let identity = self.here.fleet.keys().identity().public();
        agent
            .finish(&answer.unwrap(), &identity, self.device, session.epoch)
            .unwrap()
    }

    async fn linked_by(&self, key: &SessionKey, counter: u64) -> Result<LinkedDevice> {
        let (method, path, body) = REQUEST;
        let proof = key.prove(self.device, counter, method, path, body);
        let link = self.here.fleet.link();
        link.authenticate_exchange(&proof, method, path, body).await
    }

    /// What an exchange is answered with that a session key proves.
    async fn proved(&self, key: &SessionKey, counter: u64) -> &'static str {
        code(self.linked_by(key, counter).await)
    }
}

fn code<T>(result: Result<T>) -> &'static str {
    result.map_or_else(|error| error.code().name(), |_| "ok")
}

async fn enrol(fleet: &Fleet, key: &SigningKey) -> DeviceId {
    let system = Context::system("test");
    let token = NewEnrolmentToken::default();
    let (_, secret) = fleet.enrolment().create_token(&system, &token).await.unwrap();
    let machine = Machine {
        hostname: "web".into(),
        machine_id: Some("0123456789abcdef0123456789abcdef".into()),
        agent_version: "1".into(),
    };
    let request = EnrolRequest::prove(secret, key, random_bytes(fleet.random()), machine);
    fleet
        .enrolment()
        .enrol(&request, Origin::default())
        .await
        .unwrap()
        .device_id
}

async fn disable(fleet: &Fleet, device: DeviceId, disabled: bool) {
    let change = DeviceChange {
        disabled: Some(disabled),
        ..DeviceChange::default()
    };
    let system = Context::system("test");
    fleet.devices().set(&system, device, None, &change).await.unwrap();
}

async fn delete(fleet: &Fleet, device: DeviceId) {
    let system = Context::system("test");
    fleet.devices().delete(&system, device, None).await.unwrap();
}

async fn revoke(fleet: &Fleet, device: DeviceId) {
    fleet.devices().revoke(&Context::system("test"), device).await.unwrap();
}

async fn ask_for_work(fleet: &Fleet, device: DeviceId) {
    let request = BatchRequest {
        operation: "shell".into(),
        params: serde_json::json!({"script": "true"}).into(),
        targets: Targets::devices(vec![device]),
        timeout_seconds: None,
        expires_in_seconds: None,
        ..BatchRequest::default()
    };
    let system = Context::system("test");
    fleet.batches().create(&system, &request, None).await.unwrap();
}

/// A device that is known and idle here is changed here; what its next signed request is answered with.
async fn check_here<F: Future<Output = ()>>(change: impl FnOnce(Fleet, DeviceId) -> F, expected: &str) {
    let world = World::new().await;
    let session = world.session().await;
    assert!(world.due(&session).await.is_empty() && world.is_idle());
    change(world.here.fleet.clone(), world.device).await;
    // Nobody else had a turn in between: this task did not wait for the feed.
    assert_eq!(world.signed().await, expected);
}

/// The device goes on with another key.
async fn rekey(fleet: &Fleet, device: DeviceId) {
    let (system, rule) = (Context::system("test"), serde_json::json!("replace"));
    let settings = fleet.settings();
    settings
        .set(&system, "devices.known_machine", &rule, None)
        .await
        .unwrap();
    let other = SigningKey::generate(fleet.random());
    assert_eq!(enrol(fleet, &other).await, device);
}

#[tokio::test]
async fn what_this_server_changes_holds_for_the_next_request() {
    check_here(|_, _| async {}, "ok").await;
    check_here(
        |fleet, id| async move { disable(&fleet, id, true).await },
        "device.disabled",
    )
    .await;
    check_here(|fleet, id| async move { delete(&fleet, id).await }, "device.gone").await;
    check_here(|fleet, id| async move { revoke(&fleet, id).await }, "device.revoked").await;
    let rekey = |fleet: Fleet, id| async move { rekey(&fleet, id).await };
    check_here(rekey, "assertion.invalid").await;
    let back = |fleet: Fleet, id| async move {
        disable(&fleet, id, true).await;
        disable(&fleet, id, false).await;
    };
    check_here(back, "ok").await;
}

#[tokio::test]
async fn what_another_server_changes_holds_as_soon_as_the_feed_says_so() {
    let world = World::new().await;
    let session = world.session().await;
    world.due(&session).await;
    assert!(world.is_known());
    disable(&world.there.fleet, world.device, true).await;
    world.until(|| !world.is_known()).await;
    assert_eq!(world.signed().await, "device.disabled");
    assert!(matches!(world.due(&session).await[..], [ServerFrame::Bye(_)]));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_revoked_here_or_by_another_server_is_cut_off_within_five_seconds() {
    for by_another in [false, true] {
        let world = World::new().await;
        let session = world.session().await;
        assert!(world.due(&session).await.is_empty() && world.is_idle());
        let mut signal = world.here.fleet.device_signals().subscribe(world.device);
        let server = if by_another { &world.there } else { &world.here };
        revoke(&server.fleet, world.device).await;
        // Time passes only while nothing else can happen: what is not told would be found out by the look of minutes later.
        let began = tokio::time::Instant::now();
        signal.wait(Duration::from_secs(300)).await;
        assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
        match &world.due(&session).await[..] {
            [ServerFrame::Bye(bye)] => assert_eq!(bye.code, "device.revoked"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_authority_of_another_server_is_trusted_as_soon_as_the_feed_says_so() {
    let world = World::new().await;
    let (here, there) = (world.here.fleet.certificates(), world.there.fleet.certificates());
    assert_eq!(here.bundle(), there.bundle());
    let next = there.announce(&Context::system("test"), None).await.unwrap();
    world.until(|| here.bundle().len() == 2).await;
    there.promote(&Context::system("test"), next.id).await.unwrap();
    world.until(|| here.bundle() == there.bundle()).await;
}

#[tokio::test]
async fn a_session_that_was_told_another_dispatch_key_ends_before_it_gets_work() {
    let world = World::new().await;
    let session = world.session().await;
    assert!(world.due(&session).await.is_empty() && world.is_idle());
    world.here.advance(366 * 86_400);
    // Another server is the one that lets the key pass.
    world.there.fleet.keys().turn_over().await.unwrap();
    let key = || world.here.fleet.keys().dispatch().public;
    world.until(|| key() != session.dispatch).await;
    ask_for_work(&world.here.fleet, world.device).await;
    assert!(matches!(world.due(&session).await[..], [ServerFrame::Bye(_)]));
    let next = world.session().await;
    assert_eq!(next.dispatch, key());
    match &world.due(&next).await[..] {
        [ServerFrame::Offer(offer)] => {
            let now = world.here.clock.now();
            assert_eq!(offer.verify(&key(), world.device, next.epoch, now), Ok(()));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn work_that_becomes_due_is_offered_however_idle_the_device_was() {
    let world = World::new().await;
    let session = world.session().await;
    assert!(world.due(&session).await.is_empty() && world.is_idle());
    ask_for_work(&world.here.fleet, world.device).await;
    assert!(!world.is_idle());
    assert!(matches!(world.due(&session).await[..], [ServerFrame::Offer(_)]));
    // While a run is open the device is not idle, even when there is nothing to say.
    assert!(world.due(&session).await.is_empty() && !world.is_idle());
}

#[tokio::test]
async fn work_from_another_server_wakes_the_session_here() {
    let world = World::new().await;
    let session = world.session().await;
    assert!(world.due(&session).await.is_empty() && world.is_idle());
    let mut signal = world.here.fleet.device_signals().subscribe(world.device);
    ask_for_work(&world.there.fleet, world.device).await;
    let woken = timeout(Duration::from_secs(30), signal.wait(Duration::from_secs(3_600))).await;
    assert!(woken.is_ok());
    assert!(matches!(world.due(&session).await[..], [ServerFrame::Offer(_)]));
}

#[tokio::test]
async fn the_sweep_finds_work_that_nobody_told_of() {
    let world = World::new().await;
    let session = world.session().await;
    ask_for_work(&world.there.fleet, world.device).await;
    // As if the feed had not told, and the device had been found idle before.
    let known = world.here.fleet.known_devices();
    let device = world
        .linked(&world.key)
        .await
        .map(|_| known.find(world.device, world.here.clock.now()));
    world.following.abort();
    known.begin_anew(true);
    let now = world.here.clock.now();
    known.remember(
        known.ticket(world.device),
        device.unwrap().unwrap(),
        Some(Found {
            is_idle: true,
            manifest: "",
        }),
        now,
    );
    assert!(world.due(&session).await.is_empty());
    crate::work::delivery::sweep(world.here.fleet.clone()).await.unwrap();
    assert!(matches!(world.due(&session).await[..], [ServerFrame::Offer(_)]));
}

#[tokio::test]
async fn nothing_is_remembered_once_nobody_follows_the_feed() {
    let world = World::new().await;
    assert_eq!(world.signed().await, "ok");
    assert!(world.is_known());
    world.following.abort();
    world.until(|| !world.is_known()).await;
    assert_eq!(world.signed().await, "ok");
    assert!(!world.is_known());
}

#[tokio::test]
async fn a_session_key_proves_exchanges_each_once() {
    let world = World::new().await;
    let session = world.session().await;
    let key = world.agree(&session).await;
    assert_eq!(world.proved(&key, 1).await, "ok");
    assert_eq!(world.proved(&key, 1).await, "proof.invalid");
    assert_eq!(world.proved(&key, 3).await, "ok");
    assert_eq!(world.proved(&key, 2).await, "proof.invalid");
    let (method, path, body) = REQUEST;
    let link = world.here.fleet.link();
    for (what, device, method, path, body) in [
        ("another method", world.device, "GET", path, body),
        ("another path", world.device, method, "/agent/v1/link", body),
        ("another body", world.device, method, path, &b"[]"[..]),
        (
            "another device",
            DeviceId::new(world.here.clock.now(), &*world.here.random),
            method,
            path,
            body,
        ),
    ] {
        let proof = key.prove(device, 10, method, path, body);
        let outcome = link
            .authenticate_exchange(&proof, REQUEST.0, REQUEST.1, REQUEST.2)
            .await;
        assert_eq!(code(outcome), "proof.invalid", "{what}");
    }
    assert_eq!(world.proved(&key, 10).await, "ok", "none of them used the counter up");
}

#[tokio::test]
async fn a_session_key_ends_with_its_time_its_session_its_server_and_the_devices_key() {
    let world = World::new().await;
    let session = world.session().await;
    let key = world.agree(&session).await;
    world.here.advance(600);
    assert_eq!(world.proved(&key, 1).await, "proof.invalid");

    let key = world.agree(&session).await;
    let next = world.session().await;
    assert_eq!(world.proved(&key, 1).await, "proof.invalid");

    let key = world.agree(&next).await;
    let (method, path, body) = REQUEST;
    let proof = key.prove(world.device, 1, method, path, body);
    let there = world.there.fleet.link();
    let elsewhere = there.authenticate_exchange(&proof, method, path, body).await;
    assert_eq!(code(elsewhere), "proof.invalid");
    assert_eq!(world.proved(&key, 2).await, "ok");

    rekey(&world.here.fleet, world.device).await;
    assert_eq!(world.proved(&key, 3).await, "proof.invalid");
}

#[tokio::test]
async fn a_session_key_does_not_outlive_the_trust_in_its_device() {
    for (change, expected) in [("disable", "device.disabled"), ("delete", "device.gone")] {
        let world = World::new().await;
        let session = world.session().await;
        let key = world.agree(&session).await;
        assert_eq!(world.proved(&key, 1).await, "ok");
        match change {
            "disable" => disable(&world.here.fleet, world.device, true).await,
            _ => delete(&world.here.fleet, world.device).await,
        }
        assert_eq!(world.proved(&key, 2).await, expected);
    }
}

#[tokio::test]
async fn a_session_key_does_not_prolong_itself() {
    let world = World::new().await;
    let session = world.session().await;
    let key = world.agree(&session).await;
    let proved = world.linked_by(&key, 1).await.unwrap();
    let request = KeyAgreement::begin(&*world.here.random).request();
    assert_eq!(world.here.fleet.link().agree(&proved, &session, &request), None);
    assert_eq!(world.proved(&key, 2).await, "ok", "the one that is there stays");
}

/// A future is moved into a box for each request, and lives in each socket's task.
#[tokio::test]
async fn the_futures_of_an_idle_beat_are_small() {
    let world = World::new().await;
    let session = world.session().await;
    let link = world.here.fleet.link();
    let (method, path, body) = REQUEST;
    let sizes = [
        size_of_val(&link.receive(&session, Vec::new())),
        size_of_val(&link.pending(&session)),
        size_of_val(&link.authenticate_exchange("", method, path, body)),
    ];
    assert!(sizes.iter().all(|size| *size <= 1_536), "{sizes:?}");
}
