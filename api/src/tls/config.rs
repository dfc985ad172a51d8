//! What a port presents and whom it believes.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use fleet_core::{
    Fleet,
    certificates::renew_at,
    kernel::{Error, SigningKey, Timestamp},
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    time_provider::TimeProvider,
};

/// How often the files of an operator's certificate are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// Why a port cannot speak TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key do not fit, or are of a kind that is not supported.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The fleet's authority did not issue.
    #[error("no certificate: {0}")]
    Fleet(#[from] Error),
}

/// The TLS of one port. What it presents and believes follows the fleet's authorities and the operator's files; what cannot be
/// made anew stays as it was.
pub struct PortTls {
    fleet: Fleet,
    identity: Identity,
    asks_clients: bool,
    current: Mutex<Current>,
}

enum Identity {
    /// Issued by the fleet's authority to a key that this process makes and never stores.
    Issued { key: SigningKey, names: Vec<String> },
    /// Of the operator: certificate and key.
    Files([PathBuf; 2]),
}

struct Current {
    config: Arc<ServerConfig>,
    bundle: Arc<[Vec<u8>]>,
    /// From then on another certificate is issued.
    until: Timestamp,
    /// When the files were changed, as of the last look at them.
    changed: [Option<SystemTime>; 2],
}

impl std::fmt::Debug for PortTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PortTls")
            .field("asks_clients", &self.asks_clients)
            .finish_non_exhaustive()
    }
}

impl PortTls {
    /// The agents' port: a certificate of the fleet's authority, and clients are asked for theirs.
    ///
    /// # Errors
    /// When the authority does not issue.
    pub fn agents(fleet: &Fleet, names: Vec<String>) -> Result<Self, TlsError> {
        let key = SigningKey::generate(fleet.random());
        Self::new(fleet, Identity::Issued { key, names }, true)
    }

    /// A port for people, with a certificate of the fleet's authority for these names and addresses.
    ///
    /// # Errors
    /// When the authority does not issue.
    pub fn issued(fleet: &Fleet, names: Vec<String>) -> Result<Self, TlsError> {
        let key = SigningKey::generate(fleet.random());
        Self::new(fleet, Identity::Issued { key, names }, false)
    }

    /// A port for people, with the operator's own certificate: a chain and its key, in PEM. Files that were replaced are
    /// taken up within a minute.
    ///
    /// # Errors
    /// When the files cannot be used.
    pub fn files(fleet: &Fleet, certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        Self::new(fleet, Identity::Files([certificate, key]), false)
    }

    fn new(fleet: &Fleet, identity: Identity, asks_clients: bool) -> Result<Self, TlsError> {
        let current = Mutex::new(make(fleet, &identity, asks_clients)?);
        Ok(Self {
            fleet: fleet.clone(),
            identity,
            asks_clients,
            current,
        })
    }

    /// Whether clients are asked for their certificates.
    pub(super) fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the next connection. Reads no file: connections wait for it.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let mut current = self.current();
        if matches!(self.identity, Identity::Files(_)) {
            return current.config.clone();
        }
        let now = self.fleet.clock().now();
        let same = !self.asks_clients || Arc::ptr_eq(&current.bundle, &self.fleet.certificates().bundle());
        if !same || now >= current.until {
            match make(&self.fleet, &self.identity, self.asks_clients) {
                Ok(made) => *current = made,
                Err(error) => {
                    // Not for each connection: a certificate that is renewed in time has days left.
                    current.until = now.plus(LOOK);
                    current.bundle = self.fleet.certificates().bundle();
                    tracing::warn!(%error, "this port goes on with the certificate that it has");
                }
            }
        }
        current.config.clone()
    }

    /// Takes up the operator's files whenever they were replaced. Never ends.
    pub(crate) async fn follow_files(self: Arc<Self>) -> Infallible {
        if matches!(self.identity, Identity::Issued { .. }) {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK).await;
            let port = self.clone();
            if tokio::task::spawn_blocking(move || port.look()).await.is_err() {
                tracing::error!("the look at the certificate's files broke off");
            }
        }
    }

    /// Takes up the operator's files if one of them was replaced since the last look.
    pub(super) fn look(&self) {
        let Identity::Files(files) = &self.identity else { return };
        let changed = files.each_ref().map(changed);
        if self.current().changed == changed {
            return;
        }
        match make(&self.fleet, &self.identity, self.asks_clients) {
            Ok(made) => *self.current() = made,
            Err(error) => {
                self.current().changed = changed;
                tracing::warn!(%error, "this port goes on with the certificate that it has");
            }
        }
    }
}

fn make(fleet: &Fleet, identity: &Identity, asks_clients: bool) -> Result<Current, TlsError> {
    let now = fleet.clock().now();
    // First: what is announced or replaced while the rest is made is seen the next time.
    let bundle = fleet.certificates().bundle();
    let mut at = [None; 2];
    let (chain, key, until) = match identity {
        Identity::Issued { key, names } => {
            let issued = fleet
                .certificates()
                .issue_server(fleet.server(), &key.public(), names)?;
            let chain = vec![CertificateDer::from(issued.certificate.clone())];
            let key = PrivatePkcs8KeyDer::from(key.to_pkcs8().to_vec());
            (chain, key.into(), renew_at(now, issued.not_after, 0))
        }
        Identity::Files(files) => {
            at = files.each_ref().map(changed);
            let (chain, key) = read(files)?;
            (chain, key, Timestamp::MAX)
        }
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_details(provider.clone(), Arc::new(FleetTime(fleet.clone())))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = match asks_clients {
        true => builder.with_client_cert_verifier(verifier(&bundle, provider)?),
        false => builder.with_no_client_auth(),
    }
    .with_single_cert(chain, key)?;
    // A connection that is resumed would not show its certificate again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Current {
        config: Arc::new(config),
        bundle,
        until,
        changed: at,
    })
}

fn verifier(
    bundle: &[Vec<u8>],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for der in bundle {
        roots.add(CertificateDer::from(der.as_slice()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()).into())
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read([certificate, key]: &[PathBuf; 2]) -> Result<ChainAndKey, TlsError> {
    let bad = |path: &PathBuf| {
        let path = path.clone();
        move |error: rustls::pki_types::pem::Error| TlsError::File {
            path,
            why: error.to_string(),
        }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(bad(certificate))?;
    if chain.is_empty() {
        return Err(TlsError::File {
            path: certificate.clone(),
            why: "there is no certificate in it".into(),
        });
    }
    Ok((chain, PrivateKeyDer::from_pem_file(key).map_err(bad(key))?))
}

/// When a file was changed last.
fn changed(path: &PathBuf) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|found| found.modified()).ok()
}

/// The fleet's time, so that one server has one time.
#[derive(Debug)]
struct FleetTime(Fleet);

impl TimeProvider for FleetTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.clock().now().as_seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
