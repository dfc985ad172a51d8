//! Secrets of a device on their way to its server, over real connections.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use fleet_agent_lib::{
    clock::ServerClock,
    enrol,
    escrow::{Deposit, Escrow as _, EscrowError},
    identity::Identity,
    link::Http,
};
use fleet_api::{ApiConfig, ApiListener, Ports, serve_on};
use fleet_core::{
    Fleet,
    access::Context,
    devices::enrolment::{Machine, NewEnrolmentToken, TokenText},
    escrow::{
        Conclusion, EscrowFilter, EscrowKind, EscrowReason, EscrowState, EscrowedSecretId, NewDiskPassphraseToken,
    },
    kernel::{EntityId as _, ManualClock, MasterKey, PageRequest, SeededRandom, SigningKey, Timestamp},
    store::memory::MemoryStore,
    work::{RunId, operations::actions::disk_encryption::DeviceKey, secrets::SecretText},
};
use tokio::{net::TcpListener, task::JoinHandle};
use uuid::Uuid;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const ANA: (EscrowKind, &str) = (EscrowKind::LocalPassword, "ana");

/// A server, and a device that is enrolled with it.
struct World {
    fleet: Fleet,
    identity: Identity,
    clock: Arc<ManualClock>,
    random: Arc<SeededRandom>,
    state: tempfile::TempDir,
    serving: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl World {
    async fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let random = Arc::new(SeededRandom::new(seed));
        let fleet = Fleet::builder(Arc::new(MemoryStore::new(clock.clone())), MasterKey::generate(&*random))
            .clock(clock.clone())
            .random(random.clone())
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
        Self {
            fleet,
            identity: joined.unwrap().identity,
            clock,
            random,
            state,
            serving,
        }
    }

    /// The device's side, where it believes that it is this one.
    fn agent_as(&self, identity: Identity) -> Http {
        let clock = Arc::new(ServerClock::new(self.clock.clone()));
        Http::new(Arc::new(identity), self.state.path(), clock, self.random.clone()).unwrap()
    }

    fn agent(&self) -> Http {
        self.agent_as(self.identity.clone())
    }

    /// What is kept, by states; the newest first.
    async fn kept(&self) -> Vec<EscrowState> {
        let (escrow, page) = (self.fleet.escrow(), PageRequest::default());
        let system = Context::system("test");
        let found = escrow
            .list(&system, self.identity.device, &EscrowFilter::default(), &page)
            .await;
        found.unwrap().items.into_iter().map(|secret| secret.state).collect()
    }
}

fn deposit(number: u128, secret: &str) -> Deposit {
    Deposit {
        id: EscrowedSecretId::from_uuid(Uuid::from_u128(number)),
        kind: ANA.0,
        subject: ANA.1.into(),
        source: RunId::from_uuid(Uuid::from_u128(9)),
        reason: EscrowReason::Initial,
        secret: secret.to_owned().into(),
    }
}

#[tokio::test]
async fn a_secret_goes_to_the_server_and_comes_back() {
    let world = World::new(1).await;
    let agent = world.agent();
    assert_eq!(
        agent.current(ANA.0, ANA.1).await.unwrap(),
        [],
        "it knows that there is none"
    );
    let first = deposit(1, "hunter2hunter2");
    assert_eq!(agent.deposit(&first).await, Ok(EscrowState::Offered));
    assert_eq!(agent.deposit(&first).await, Ok(EscrowState::Offered), "no second one");
    assert_eq!(
        agent.conclude(first.id, Conclusion::InUse).await,
        Ok(EscrowState::Current)
    );
    assert_eq!(world.kept().await, [EscrowState::Current]);
    let held = agent.current(ANA.0, ANA.1).await.unwrap();
    assert_eq!((held[0].id, held[0].secret.reveal()), (first.id, "hunter2hunter2"));
    let revealed = world
        .fleet
        .escrow()
        .reveal(&Context::system("test"), first.id)
        .await
        .unwrap();
    assert_eq!(revealed.secret.reveal(), "hunter2hunter2");
}

#[tokio::test]
async fn a_refusal_is_another_answer_than_none() {
    let world = World::new(2).await;
    let agent = world.agent();
    let unknown = agent.conclude(deposit(7, "x").id, Conclusion::InUse).await.unwrap_err();
    assert!(matches!(&unknown, EscrowError::Refused { code, .. } if code == "escrowed_secret.not_found"));
    assert!(unknown.is_final());
    agent.deposit(&deposit(1, "one")).await.unwrap();
    let contradicted = agent.deposit(&deposit(1, "another")).await.unwrap_err();
    assert!(contradicted.is_final());
    let too_long = agent.deposit(&deposit(2, &"x".repeat(1_025))).await.unwrap_err();
    assert!(matches!(&too_long, EscrowError::Refused { .. }) && !too_long.to_string().contains("xxx"));

    world.serving.abort();
    world.clock.advance(Duration::from_secs(1));
    let nowhere = Identity {
        address: "http://127.0.0.1:9".into(),
        ..world.identity.clone()
    };
    let away = world.agent_as(nowhere);
    assert!(matches!(
        away.deposit(&deposit(3, "x")).await,
        Err(EscrowError::Unreachable(_))
    ));
    assert!(matches!(
        away.current(ANA.0, ANA.1).await,
        Err(EscrowError::Unreachable(_))
    ));
}

#[tokio::test]
async fn a_receipt_that_the_pinned_server_did_not_sign_is_none() {
    let world = World::new(3).await;
    // Whoever stands in between answers for a server that this device was never enrolled with.
    let misled = world.agent_as(Identity {
        server: SigningKey::generate(&*world.random).public(),
        ..world.identity.clone()
    });
    for answer in [
        misled.deposit(&deposit(1, "x")).await,
        misled.conclude(deposit(1, "x").id, Conclusion::InUse).await,
    ] {
        assert!(matches!(answer, Err(EscrowError::Untrusted(_))), "{answer:?}");
    }
    assert!(matches!(
        misled.current(ANA.0, ANA.1).await,
        Err(EscrowError::Untrusted(_))
    ));
}

const DISK: &str = "6f1f0b1e-4a55-4f0e-9a0e-5f1d3c2b1a00";

#[tokio::test]
async fn a_token_for_a_passphrase_is_looked_at_used_and_used_up() {
    let world = World::new(4).await;
    let (agent, system) = (world.agent(), Context::system("test"));
    let keys = world.fleet.disk_keys();
    let new = NewDiskPassphraseToken::default();
    let made = keys.create_token(&system, world.identity.device, &new).await.unwrap();
    let code = |answer: Result<(), EscrowError>| match answer {
        Err(EscrowError::Refused { code, .. }) => code,
        other => format!("{other:?}"),
    };
    let none = SecretText::from("0".repeat(64));
    assert_eq!(
        code(agent.check_passphrase_token(&none).await),
        "disk_passphrase_token.unknown"
    );
    agent.check_passphrase_token(&made.token).await.unwrap();
    agent.use_passphrase_token(&made.token, DISK).await.unwrap();
    agent.use_passphrase_token(&made.token, DISK).await.unwrap();
    assert_eq!(
        code(agent.check_passphrase_token(&made.token).await),
        "disk_passphrase_token.used"
    );
    let shown = keys.show(&system, world.identity.device).await.unwrap();
    assert_eq!(
        (&*shown.disks[0].disk, shown.disks[0].key),
        (DISK, DeviceKey::Passphrase)
    );
    agent.tell_disk_key(DISK, DeviceKey::None).await.unwrap();
    let shown = keys.show(&system, world.identity.device).await.unwrap();
    assert_eq!(shown.disks[0].key, DeviceKey::None);

    let misled = world.agent_as(Identity {
        server: SigningKey::generate(&*world.random).public(),
        ..world.identity.clone()
    });
    let made = keys.create_token(&system, world.identity.device, &new).await.unwrap();
    for answer in [
        misled.check_passphrase_token(&made.token).await,
        misled.use_passphrase_token(&made.token, DISK).await,
        misled.tell_disk_key(DISK, DeviceKey::Tpm2).await,
    ] {
        assert!(matches!(answer, Err(EscrowError::Untrusted(_))), "{answer:?}");
    }
}
