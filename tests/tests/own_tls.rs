//! The server's own TLS port and the agent's side of it, over days and months.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fleet_agent_lib::{
    clock::ServerClock,
    enrol,
    identity::Identity,
    link::{Http, LinkError},
};
use fleet_api::{
    ApiConfig, ApiListener, Ports, serve_on,
    tls::{PortTls, TlsListener},
};
use fleet_core::{
    Fleet,
    access::Context,
    certificates::DeviceCertificate,
    devices::enrolment::{Machine, NewEnrolmentToken, TokenText},
    kernel::{ManualClock, MasterKey, PublicKey, SeededRandom, Timestamp},
    store::memory::MemoryStore,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use tokio::{net::TcpListener, task::JoinHandle};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// A server with an agents' port, and the state directory of a device.
struct World {
    fleet: Fleet,
    clock: Arc<ManualClock>,
    /// The device's own.
    device_clock: Arc<ManualClock>,
    random: Arc<SeededRandom>,
    address: String,
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
        let agents = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}", agents.local_addr().unwrap());
        let ports = Ports {
            api: ApiListener::Plain(TcpListener::bind("127.0.0.1:0").await.unwrap()),
            agents: Some(TlsListener::new(agents, PortTls::agents(&fleet, Vec::new()).unwrap())),
        };
        let served = serve_on(fleet.clone(), ApiConfig::default(), ports, std::future::pending());
        Self {
            fleet,
            clock,
            device_clock: Arc::new(ManualClock::new(NOW)),
            random,
            address,
            state: tempfile::tempdir().unwrap(),
            serving: tokio::spawn(async move { served.await.unwrap() }),
        }
    }

    /// The text of a token that names this address and this server.
    async fn token(&self, address: &str, identity: PublicKey) -> String {
        let new = NewEnrolmentToken::default();
        let system = Context::system("test");
        let (_, secret) = self.fleet.enrolment().create_token(&system, &new).await.unwrap();
        let text = TokenText {
            address: address.to_owned(),
            identity,
            ca: Some(self.fleet.certificates().fingerprint()),
            secret,
        };
        text.encode().unwrap().to_string()
    }

    async fn try_enrol(&self, token: &str) -> Result<Identity, String> {
        let (clock, random) = (self.device_clock.clone(), self.random.clone());
        enrol::enrol(self.state.path(), token, Machine::default(), clock, random)
            .await
            .map(|joined| joined.identity)
            .map_err(|error| error.message().to_owned())
    }

    /// The device's side, as after a start of its agent.
    fn agent(&self) -> Http {
        let identity = Arc::new(Identity::load(self.state.path()).unwrap());
        let clock = Arc::new(ServerClock::new(self.device_clock.clone()));
        Http::new(identity, self.state.path(), clock, self.random.clone()).unwrap()
    }

    async fn enrolled(seed: u64) -> (Self, Http) {
        let world = Self::new(seed).await;
        let token = world
            .token(&world.address, world.fleet.keys().identity().public())
            .await;
        world.try_enrol(&token).await.unwrap();
        let agent = world.agent();
        (world, agent)
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.device_clock.advance(time);
    }

    async fn certificate(&self) -> DeviceCertificate {
        let id = Identity::load(self.state.path()).unwrap().device;
        let device = self.fleet.devices().show(&Context::system("test"), id).await.unwrap();
        device.certificate.unwrap()
    }
}

/// Whether a request that needs a certificate gets through, once the agent has seen to its certificate.
async fn works(agent: &Http) -> Result<(), LinkError> {
    agent.certify().await?;
    exchange(agent).await
}

async fn exchange(agent: &Http) -> Result<(), LinkError> {
    let body = Bytes::from_static(br#"{"frames":[],"wait_seconds":0}"#);
    let path = "/agent/v1/exchange";
    let answer = agent
        .post(path, "application/json", None, body, Duration::from_secs(10))
        .await;
    answer.map(drop)
}

#[tokio::test]
async fn a_certificate_is_renewed_between_a_half_and_two_thirds_of_its_life_and_not_before() {
    let (world, agent) = World::enrolled(1).await;
    let mut newest = world.certificate().await;
    for _ in 0..5 {
        world.pass(12 * HOUR - Duration::from_secs(60));
        works(&agent).await.unwrap();
        assert_eq!(world.certificate().await, newest);
        world.pass(4 * HOUR);
        works(&agent).await.unwrap();
        let next = world.certificate().await;
        assert_ne!(next, newest);
        newest = next;
    }
}

#[tokio::test]
async fn requests_that_meet_a_renewal_are_sent_again_with_the_new_certificate() {
    let (world, agent) = World::enrolled(2).await;
    works(&agent).await.unwrap();
    // Another agent with the same key, as after a restart from a copy, takes the certificate away.
    let other = world.agent();
    world.pass(16 * HOUR);
    works(&other).await.unwrap();
    let taken = world.certificate().await;
    // The first agent does not look before it sends, and is told.
    exchange(&agent).await.unwrap();
    assert_ne!(world.certificate().await, taken);
}

#[tokio::test]
async fn a_device_that_was_off_for_thirty_days_comes_back_by_itself_whatever_became_of_the_authority() {
    let (world, _) = World::enrolled(3).await;
    world.pass(30 * DAY);
    works(&world.agent()).await.unwrap();
    let (certificates, system) = (world.fleet.certificates(), Context::system("test"));
    let former = certificates.list(&system).await.unwrap()[0].id;
    let next = certificates.announce(&system, None).await.unwrap();
    certificates.promote(&system, next.id).await.unwrap();
    certificates.delete(&system, former).await.unwrap();
    world.pass(30 * DAY);
    works(&world.agent()).await.unwrap();
    assert_eq!(world.certificate().await.authority, next.id);
    // Also a running one, whose certificate is worth nothing from one moment to the next.
    let agent = world.agent();
    let last = certificates.announce(&system, None).await.unwrap();
    certificates.promote(&system, last.id).await.unwrap();
    certificates.delete(&system, next.id).await.unwrap();
    works(&agent).await.unwrap();
    assert_eq!(world.certificate().await.authority, last.id);
}

#[tokio::test]
async fn a_device_whose_clock_is_off_by_years_enrols_and_works() {
    for years in [-20_i64, 20] {
        let mut world = World::new(4).await;
        let off = Timestamp::from_seconds(NOW.as_seconds() + years * 365 * 86_400);
        world.device_clock = Arc::new(ManualClock::new(off));
        let token = world
            .token(&world.address, world.fleet.keys().identity().public())
            .await;
        world.try_enrol(&token).await.unwrap();
        works(&world.agent()).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_the_token_does_not_name_gets_no_secret() {
    let (pinned, stranger) = (World::new(5).await, World::new(6).await);
    let token = pinned
        .token(&stranger.address, pinned.fleet.keys().identity().public())
        .await;
    let why = pinned.try_enrol(&token).await.unwrap_err();
    assert!(why.contains("not signed by the server"), "{why}");
    assert!(Identity::load(pinned.state.path()).is_err());
}

#[tokio::test]
async fn a_time_that_the_pinned_server_did_not_sign_is_not_believed() {
    let ((world, agent), stranger) = (World::enrolled(8).await, World::new(9).await);
    works(&agent).await.unwrap();
    // Whoever stands in between has years ahead, or years back, in which his certificate holds.
    stranger.clock.advance(DAY * 365);
    let moved = Identity {
        address: stranger.address.clone(),
        ..Identity::load(world.state.path()).unwrap()
    };
    let clock = Arc::new(ServerClock::new(world.device_clock.clone()));
    let led_astray = Http::new(Arc::new(moved), world.state.path(), clock.clone(), world.random.clone()).unwrap();
    world.pass(16 * HOUR);
    let refused = led_astray.certify().await.unwrap_err();
    assert!(matches!(refused, LinkError::Untrusted(_)), "{refused:?}");
    assert_eq!(clock.offset_seconds(), 0);
    works(&agent).await.unwrap();
}

#[tokio::test]
async fn a_device_with_damaged_credentials_gets_others() {
    let (world, _) = World::enrolled(10).await;
    let file = world.state.path().join("certificate.json");
    let good = std::fs::read_to_string(&file).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&good).unwrap();
    for member in ["/authorities/0", "/certificate/der"] {
        let mut damaged = stored.clone();
        *damaged.pointer_mut(member).unwrap() = "AQID".into();
        std::fs::write(&file, damaged.to_string()).unwrap();
        works(&world.agent()).await.unwrap();
    }
}

#[tokio::test]
async fn a_certificate_of_a_device_makes_no_server() {
    let (world, agent) = World::enrolled(7).await;
    works(&agent).await.unwrap();
    let identity = Identity::load(world.state.path()).unwrap();
    // Another device of the same fleet stands where the server was, with its own certificate.
    let credentials = fleet_agent_lib::credentials::Credentials::load(world.state.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let moved = Identity {
        address: format!("https://{}", listener.local_addr().unwrap()),
        ..identity.clone()
    };
    moved.save(world.state.path()).unwrap();
    let key = PrivatePkcs8KeyDer::from(identity.key.to_pkcs8().to_vec());
    let chain = vec![CertificateDer::from(credentials.certificate.unwrap().der)];
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let impostor = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Whoever believes it would be answered, sooner or later.
            drop(acceptor.accept(stream).await);
        }
    });
    let refused = exchange(&world.agent()).await.unwrap_err();
    assert!(matches!(refused, LinkError::Handshake(_)), "{refused:?}");
    impostor.abort();
}
