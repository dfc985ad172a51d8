//! What the agents' port makes of certificates, over real connections.

use std::{sync::Arc, time::Duration};

use fleet_core::{
    Fleet,
    access::{Context, Origin},
    certificates::{Peer, PresentedCertificate},
    devices::{
        DeviceId,
        enrolment::{EnrolRequest, Machine, NewEnrolmentToken},
    },
    kernel::{Clock as _, ManualClock, MasterKey, SeededRandom, SigningKey, Timestamp, random_bytes},
    link::LinkedDevice,
    protocol::{Assertion, CertificateAnswer, CertificateRequest},
    store::memory::MemoryStore,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::ParsedCertificate,
    sign::{CertifiedKey, SingleCertAndKey},
    time_provider::TimeProvider,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{ApiConfig, ApiListener, Ports, serve_on};

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Debug)]
struct Time(Arc<ManualClock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_seconds()).unwrap();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// A server with an agents' port, and a device that has a certificate.
struct World {
    fleet: Fleet,
    clock: Arc<ManualClock>,
    random: Arc<SeededRandom>,
    address: SocketAddr,
    device: DeviceId,
    key: SigningKey,
    certificate: Vec<u8>,
    serving: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl World {
    async fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000)));
        let random = Arc::new(SeededRandom::new(seed));
        let fleet = Fleet::builder(Arc::new(MemoryStore::new(clock.clone())), MasterKey::generate(&*random))
            .clock(clock.clone())
            .random(random.clone())
            .open()
            .await
            .unwrap();
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let agents = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = agents.local_addr().unwrap();
        let ports = Ports {
            api: ApiListener::Plain(plain),
            agents: Some(TlsListener::new(agents, PortTls::agents(&fleet, Vec::new()).unwrap())),
        };
        let served = serve_on(fleet.clone(), ApiConfig::default(), ports, std::future::pending());
        let serving = tokio::spawn(async move { served.await.unwrap() });
        let key = SigningKey::generate(&*random);
        let new = NewEnrolmentToken::default();
        let (_, secret) = fleet
            .enrolment()
            .create_token(&Context::system("test"), &new)
            .await
            .unwrap();
        let request = EnrolRequest::prove(secret, &key, random_bytes(&*random), Machine::default());
        let device = fleet
            .enrolment()
            .enrol(&request, Origin::default())
            .await
            .unwrap()
            .device_id;
        let mut world = Self {
            fleet,
            clock,
            random,
            address,
            device,
            key,
            certificate: Vec::new(),
            serving,
        };
        world.certificate = world.certify().await;
        world
    }

    async fn linked(&self) -> LinkedDevice {
        let (now, random) = (self.clock.now(), &*self.random);
        let assertion = Assertion::sign(&self.key, self.device, now, random, "POST", "/", b"");
        self.fleet
            .link()
            .authenticate(&assertion, "POST", "/", b"")
            .await
            .unwrap()
    }

    /// The next certificate of the device.
    async fn certify(&self) -> Vec<u8> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let request = CertificateRequest { nonce: "n".into() };
        let answer: CertificateAnswer = self.fleet.link().certify(&self.linked().await, &request).await.unwrap();
        STANDARD.decode(answer.body.certificate).unwrap()
    }

    /// Sends a request with this certificate and key; the status and code of the answer, or `refused` when the connection was.
    async fn ask(&self, method: &str, path: &str, identity: Option<(&[u8], &SigningKey)>, body: &str) -> String {
        let mut roots = RootCertStore::empty();
        for der in &*self.fleet.certificates().bundle() {
            roots.add(CertificateDer::from(der.as_slice())).unwrap();
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_details(provider, Arc::new(Time(self.clock.clone())))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Server(roots)));
        let config = match identity {
            Some((der, key)) => {
                // Unlike the usual way, this one presents a certificate without having its key, if asked to.
                let key = PrivatePkcs8KeyDer::from(key.to_pkcs8().to_vec()).into();
                let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
                let certified = CertifiedKey::new(vec![CertificateDer::from(der.to_vec())], key);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            None => builder.with_no_client_auth(),
        };
        self.send(config, method, path, body)
            .await
            .unwrap_or_else(|_| "refused".into())
    }

    async fn send(&self, config: ClientConfig, method: &str, path: &str, body: &str) -> std::io::Result<String> {
        let stream = TcpStream::connect(self.address).await?;
        // Its certificate names the class of servers and no host.
        let name = ServerName::try_from("fleet.test").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, stream).await?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: fleet.test\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer).await
            && answer.is_empty()
        {
            return Err(error);
        }
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        let code = answer.split_once("\r\n\r\n").and_then(|(_, body)| {
            let problem: serde_json::Value = serde_json::from_str(body).ok()?;
            problem["code"].as_str().map(str::to_owned)
        });
        Ok(code.map_or(status.clone(), |code| format!("{status} {code}")))
    }

    /// What an exchange with this certificate is answered.
    #[track_caller]
    fn exchange<'a>(&'a self, der: &'a [u8], key: &'a SigningKey) -> impl Future<Output = String> + 'a {
        self.ask(
            "POST",
            "/agent/v1/exchange",
            Some((der, key)),
            r#"{"frames":[],"wait_seconds":0}"#,
        )
    }
}

/// A certificate of class server from an authority of the fleet, whatever the server is called.
#[derive(Debug)]
struct Server(RootCertStore);

impl ServerCertVerifier for Server {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.0, intermediates, now, algorithms.all)?;
        let peer = PresentedCertificate::read(certificate).map(|presented| presented.peer);
        assert!(matches!(peer, Some(Peer::Server(_))), "{peer:?}");
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("only TLS 1.3 is offered")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ED25519]
    }
}

const WELCOMED: &str = "200";

#[tokio::test]
async fn the_newest_certificate_of_a_device_opens_and_one_that_is_superseded_does_not() {
    let world = World::new(1).await;
    assert_eq!(world.exchange(&world.certificate, &world.key).await, WELCOMED);
    let next = world.certify().await;
    assert_eq!(
        world.exchange(&world.certificate, &world.key).await,
        "401 certificate.superseded"
    );
    assert_eq!(world.exchange(&next, &world.key).await, WELCOMED);
}

#[tokio::test]
async fn without_a_certificate_one_enrols_learns_and_asks_and_nothing_else() {
    let world = World::new(2).await;
    let body = r#"{"frames":[]}"#;
    for path in ["/agent/v1/exchange", "/agent/v1/reports/os"] {
        assert_eq!(
            world.ask("POST", path, None, body).await,
            "401 certificate.required",
            "{path}"
        );
    }
    assert_eq!(
        world.ask("GET", "/agent/v1/link", None, "").await,
        "401 certificate.required"
    );
    assert_eq!(
        world.ask("POST", "/agent/v1/trust", None, r#"{"nonce":"n"}"#).await,
        "200"
    );
    // A request for a certificate is signed, whatever the connection has.
    let asked = world
        .ask("POST", "/agent/v1/certificate", None, r#"{"nonce":"n"}"#)
        .await;
    assert_eq!(asked, "401 assertion.invalid");
    let identity = Some((&world.certificate[..], &world.key));
    let asked = world
        .ask("POST", "/agent/v1/certificate", identity, r#"{"nonce":"n"}"#)
        .await;
    assert_eq!(asked, "401 assertion.invalid");
    // People and their API are elsewhere.
    assert_eq!(
        world.ask("GET", "/api/v1/me", identity, "").await,
        "404 route.not_found"
    );
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_refused_in_the_handshake() {
    let world = World::new(3).await;
    world.clock.advance(DAY + Duration::from_secs(1));
    assert_eq!(world.exchange(&world.certificate, &world.key).await, "refused");
    let next = world.certify().await;
    assert_eq!(world.exchange(&next, &world.key).await, WELCOMED);
}

#[tokio::test]
async fn certificates_of_another_authority_of_another_class_and_without_their_key_are_refused_in_the_handshake() {
    let (world, other) = (World::new(4).await, World::new(5).await);
    assert_eq!(world.exchange(&other.certificate, &other.key).await, "refused");
    let server = world
        .fleet
        .certificates()
        .issue_server(uuid::Uuid::nil(), &world.key.public(), &[])
        .unwrap();
    assert_eq!(world.exchange(&server.certificate, &world.key).await, "refused");
    assert_eq!(world.exchange(&world.certificate, &other.key).await, "refused");
    assert_eq!(world.exchange(&world.certificate, &world.key).await, WELCOMED);
}

#[tokio::test]
async fn a_revoked_device_is_refused_by_name() {
    let world = World::new(6).await;
    world
        .fleet
        .devices()
        .revoke(&Context::system("test"), world.device)
        .await
        .unwrap();
    assert_eq!(
        world.exchange(&world.certificate, &world.key).await,
        "403 device.revoked"
    );
}

#[tokio::test]
async fn the_port_follows_the_fleets_authorities() {
    let world = World::new(7).await;
    let (certificates, system) = (world.fleet.certificates(), Context::system("test"));
    let former = certificates.list(&system).await.unwrap()[0].id;
    let next = certificates.announce(&system, None).await.unwrap();
    certificates.promote(&system, next.id).await.unwrap();
    assert_eq!(
        world.exchange(&world.certificate, &world.key).await,
        WELCOMED,
        "it retires, and is trusted"
    );
    let renewed = world.certify().await;
    assert_eq!(world.exchange(&renewed, &world.key).await, WELCOMED);
    certificates.delete(&system, former).await.unwrap();
    assert_eq!(world.exchange(&world.certificate, &world.key).await, "refused");
    assert_eq!(world.exchange(&renewed, &world.key).await, WELCOMED);
}

#[tokio::test]
async fn the_port_renews_its_own_certificate() {
    let world = World::new(8).await;
    for _ in 0..20 {
        world.clock.advance(DAY);
        let certificate = world.certify().await;
        assert_eq!(world.exchange(&certificate, &world.key).await, WELCOMED);
    }
}

/// A certificate and its key in PEM, as an operator has them.
fn write_files(fleet: &Fleet, folder: &std::path::Path, seed: u64) -> (std::path::PathBuf, std::path::PathBuf) {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let key = SigningKey::generate(&SeededRandom::new(seed));
    let issued = fleet
        .certificates()
        .issue_server(uuid::Uuid::nil(), &key.public(), &[])
        .unwrap();
    let pem = |label: &str, der: &[u8]| {
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            STANDARD.encode(der)
        )
    };
    let (certificate, private) = (folder.join("chain.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, pem("CERTIFICATE", &issued.certificate)).unwrap();
    std::fs::write(&private, pem("PRIVATE KEY", &key.to_pkcs8())).unwrap();
    (certificate, private)
}

/// Makes a file look as if it had been changed later.
fn touch(path: &std::path::Path, seconds: u64) {
    let at = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000 + seconds);
    std::fs::File::options()
        .append(true)
        .open(path)
        .unwrap()
        .set_modified(at)
        .unwrap();
}

#[tokio::test]
async fn an_operators_files_are_taken_up_and_damaged_ones_are_not() {
    let world = World::new(9).await;
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = write_files(&world.fleet, folder.path(), 50);
    let port = PortTls::files(&world.fleet, certificate.clone(), key.clone()).unwrap();
    let first = port.config();
    let same = |config: &Arc<ServerConfig>| Arc::ptr_eq(config, &port.config());
    port.look();
    assert!(same(&first), "nothing has changed");
    write_files(&world.fleet, folder.path(), 51);
    touch(&certificate, 1);
    assert!(same(&first), "no connection waits for files to be read");
    port.look();
    let second = port.config();
    assert!(!Arc::ptr_eq(&first, &second));
    // Half of a renewal: the certificate has another key than the file beside it.
    let other = tempfile::tempdir().unwrap();
    let (foreign, foreign_key) = write_files(&world.fleet, other.path(), 52);
    std::fs::copy(foreign, &certificate).unwrap();
    touch(&certificate, 2);
    port.look();
    assert!(same(&second), "it goes on with what it has");
    assert!(PortTls::files(&world.fleet, certificate.clone(), key.clone()).is_err());
    // The other half, later: the key alone has changed since the last look.
    std::fs::copy(foreign_key, &key).unwrap();
    touch(&key, 3);
    port.look();
    assert!(!same(&second));
    assert!(PortTls::files(&world.fleet, certificate, folder.path().join("none")).is_err());
}

#[tokio::test(start_paused = true)]
async fn files_are_looked_at_once_a_minute_while_the_port_is_served() {
    let world = World::new(10).await;
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = write_files(&world.fleet, folder.path(), 53);
    let port = Arc::new(PortTls::files(&world.fleet, certificate.clone(), key).unwrap());
    let first = port.config();
    write_files(&world.fleet, folder.path(), 54);
    touch(&certificate, 1);
    let two_minutes = tokio::time::timeout(Duration::from_secs(125), port.clone().follow_files());
    assert!(two_minutes.await.is_err());
    assert!(!Arc::ptr_eq(&first, &port.config()));
}
