//! The server's own TLS port: whom a device believes there, what it presents, and how it comes by both.
//!
//! What is pinned for good is the server's identity key. The authorities that certificates come from change, and are learnt
//! in an answer that the identity key signed over a nonce of this device: with each certificate, and when a connection shows
//! that those at hand are out of date. Such an answer is believed whoever carried it, and so is the time that it tells.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use fleet_core::{
    kernel::{Clock as _, random_bytes},
    protocol::{CertificateAnswer, CertificateRequest, TrustAnswer},
};
use rustls::ClientConfig;

use super::{
    Http, LinkError,
    http::{self, Client},
    verifier::Trust,
};
use crate::{
    clock::ServerClock,
    credentials::{Certificate, Credentials, decode},
    identity::Identity,
};

const TRUST: &str = "/agent/v1/trust";
const CERTIFICATE: &str = "/agent/v1/certificate";
/// How long either may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked whether the certificate has to be renewed.
const LOOK: Duration = Duration::from_secs(60);

/// Credentials and what connections are made with.
pub(super) struct OwnTls {
    identity: Arc<Identity>,
    clock: Arc<ServerClock>,
    state: PathBuf,
    held: Mutex<Held>,
    /// One renewal at a time.
    renewing: tokio::sync::Mutex<()>,
}

struct Held {
    credentials: Credentials,
    client: reqwest::Client,
    config: Arc<ClientConfig>,
    /// Which credentials these are.
    generation: u64,
    /// The server refused them.
    doubtful: bool,
}

impl std::fmt::Debug for OwnTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnTls").finish_non_exhaustive()
    }
}

impl OwnTls {
    /// With what the state directory holds.
    pub(super) fn new(identity: Arc<Identity>, clock: Arc<ServerClock>, state: PathBuf) -> Result<Self, LinkError> {
        let mut credentials = Credentials::load(&state);
        let config = config(&identity, &clock, Some(&credentials), true).or_else(|error| {
            // It can be read and not be used: damaged, or of another key. The key gets it anew.
            tracing::warn!(%error, "the certificate cannot be used, and is asked for anew");
            credentials = Credentials::default();
            config(&identity, &clock, Some(&credentials), true)
        })?;
        let held = Held {
            client: client(&config)?,
            config,
            credentials,
            generation: 0,
            doubtful: false,
        };
        Ok(Self {
            identity,
            clock,
            state,
            held: Mutex::new(held),
            renewing: tokio::sync::Mutex::default(),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For requests, and which credentials it presents.
    pub(super) fn client(&self) -> (reqwest::Client, u64) {
        let held = self.held();
        (held.client.clone(), held.generation)
    }

    /// For sockets, and which credentials they present.
    pub(super) fn config(&self) -> (Arc<ClientConfig>, u64) {
        let held = self.held();
        (held.config.clone(), held.generation)
    }

    /// The server refused these credentials.
    pub(super) fn doubt(&self, generation: u64) {
        let mut held = self.held();
        held.doubtful |= held.generation == generation;
    }

    /// Whether the credentials at hand will do.
    fn is_fit(&self) -> bool {
        let held = self.held();
        let renew_at = held
            .credentials
            .certificate
            .as_ref()
            .map(|certificate| certificate.renew_at);
        !held.doubtful && renew_at.is_some_and(|renew_at| self.clock.now() < renew_at)
    }

    /// Whether the certificate is still good for connecting, though it should be renewed.
    fn is_good_enough(&self) -> bool {
        let held = self.held();
        let not_after = held
            .credentials
            .certificate
            .as_ref()
            .map(|certificate| certificate.not_after);
        !held.doubtful && not_after.is_some_and(|not_after| self.clock.now() < not_after)
    }

    fn take(&self, credentials: Credentials) -> Result<(), LinkError> {
        let config = config(&self.identity, &self.clock, Some(&credentials), true)?;
        let client = client(&config)?;
        if let Err(error) = credentials.save(&self.state) {
            // It counts from now on, and the next start asks for another.
            tracing::error!(error = error.log(), "the certificate could not be kept");
        }
        let mut held = self.held();
        held.generation += 1;
        held.doubtful = false;
        (held.credentials, held.config, held.client) = (credentials, config, client);
        Ok(())
    }
}

impl Http {
    /// Sees to it that this device has a certificate that the server takes; without own TLS there is nothing to do.
    ///
    /// # Errors
    /// As [`LinkError`] says, when there is none and none is to be had.
    pub async fn certify(&self) -> Result<(), LinkError> {
        let Some(tls) = self.tls() else { return Ok(()) };
        if tls.is_fit() {
            return Ok(());
        }
        let _one = tls.renewing.lock().await;
        if tls.is_fit() {
            return Ok(());
        }
        match self.renew(tls).await {
            Err(error @ (LinkError::Unreachable(_) | LinkError::Handshake(_))) if tls.is_good_enough() => {
                tracing::warn!(%error, "the certificate could not be renewed yet");
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Renews the certificate whenever it is time. Never ends.
    pub async fn keep_certified(&self) {
        let Some(tls) = self.tls() else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(LOOK).await;
            if tls.held().credentials.certificate.is_some()
                && let Err(error) = self.certify().await
            {
                tracing::warn!(%error, "the certificate could not be renewed");
            }
        }
    }

    /// A client for enrolling by the server's own TLS, and what it believes.
    pub(crate) async fn enrolment_client(&self) -> Result<(reqwest::Client, Credentials), LinkError> {
        let credentials = Credentials {
            authorities: self.learn_authorities().await?,
            certificate: None,
        };
        let client = client(&config(self.identity(), self.clock(), Some(&credentials), false)?)?;
        Ok((client, credentials))
    }

    async fn renew(&self, tls: &OwnTls) -> Result<(), LinkError> {
        let mut credentials = tls.held().credentials.clone();
        if !credentials.authorities.is_empty() {
            match self.ask(tls, &credentials).await {
                Err(LinkError::Handshake(why)) => tracing::info!(why, "the authorities at hand are out of date"),
                outcome => return tls.take(outcome?),
            }
        }
        credentials.authorities = self.learn_authorities().await?;
        tls.take(self.ask(tls, &credentials).await?)
    }

    /// The present authorities, by way of a connection that proves nothing.
    async fn learn_authorities(&self) -> Result<Vec<Vec<u8>>, LinkError> {
        let client = client(&config(self.identity(), self.clock(), None, false)?)?;
        self.ask_whom_to_trust(&Client::Web(client)).await
    }

    /// The server's time, which it signs.
    pub(super) async fn learn_time(&self) -> Result<(), LinkError> {
        self.ask_whom_to_trust(&self.client().0).await.map(drop)
    }

    /// The present authorities; learns the time beside them. What is asked for by whatever connection is signed.
    async fn ask_whom_to_trust(&self, client: &Client) -> Result<Vec<Vec<u8>>, LinkError> {
        let nonce = self.nonce();
        let body = request_body(&nonce)?;
        let response = self.send(client, TRUST, body, None).await?;
        let answer: TrustAnswer = parse(&response)?;
        if !answer.verify(&self.identity().server, &nonce) {
            return Err(untrusted());
        }
        self.clock().learn(answer.body.time);
        decode(&answer.body.authorities).ok_or_else(untrusted)
    }

    /// The next certificate, over a connection without one: that at hand may be the very reason to ask.
    async fn ask(&self, tls: &OwnTls, credentials: &Credentials) -> Result<Credentials, LinkError> {
        let client = Client::Web(client(&config(
            self.identity(),
            self.clock(),
            Some(credentials),
            false,
        )?)?);
        let nonce = self.nonce();
        let body = request_body(&nonce)?;
        let mut tries = 2;
        let response = loop {
            tries -= 1;
            let assertion = self.assertion("POST", CERTIFICATE, &body);
            match self.send(&client, CERTIFICATE, body.clone(), Some(assertion)).await {
                Err(error) if error.code() == Some("assertion.stale") && tries > 0 => {
                    self.ask_whom_to_trust(&client).await?;
                }
                outcome => break outcome?,
            }
        };
        let answer: CertificateAnswer = parse(&response)?;
        if !answer.verify(&tls.identity.server, &nonce, tls.identity.device) {
            return Err(untrusted());
        }
        tls.clock.learn(answer.body.time);
        tracing::info!(not_after = %answer.body.not_after, "the next certificate is here");
        Ok(Credentials {
            authorities: decode(&answer.body.authorities).ok_or_else(untrusted)?,
            certificate: Some(Certificate {
                der: STANDARD.decode(&answer.body.certificate).map_err(|_| untrusted())?,
                renew_at: answer.body.renew_at,
                not_after: answer.body.not_after,
            }),
        })
    }

    pub(super) async fn send(
        &self,
        client: &Client,
        path: &str,
        body: Bytes,
        assertion: Option<String>,
    ) -> Result<Bytes, LinkError> {
        let mut post = self.request(path, "application/json", &body);
        post.headers
            .extend(assertion.map(|assertion| (fleet_core::protocol::ASSERTION_HEADER, assertion)));
        client.post(&self.identity().address, post, PATIENCE).await
    }

    pub(super) fn nonce(&self) -> String {
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random_bytes::<16>(self.random()))
    }
}

/// A client for the port; with these credentials, or for learning them.
fn config(
    identity: &Identity,
    clock: &Arc<ServerClock>,
    credentials: Option<&Credentials>,
    present: bool,
) -> Result<Arc<ClientConfig>, LinkError> {
    let certificate = credentials
        .and_then(|credentials| credentials.certificate.as_ref())
        .filter(|_| present)
        .map(|certificate| (&certificate.der[..], &identity.key));
    let authorities = credentials.map(|credentials| &credentials.authorities[..]);
    Trust::new(clock.clone(), authorities)
        .and_then(|trust| trust.config(certificate))
        .map_err(|error| LinkError::Handshake(error.to_string()))
}

fn client(config: &Arc<ClientConfig>) -> Result<reqwest::Client, LinkError> {
    http::builder()
        .tls_backend_preconfigured(ClientConfig::clone(config))
        .https_only(true)
        .build()
        .map_err(|error| LinkError::Unreachable(error.to_string()))
}

fn request_body(nonce: &str) -> Result<Bytes, LinkError> {
    let request = CertificateRequest {
        nonce: nonce.to_owned(),
    };
    serde_json::to_vec(&request)
        .map(Bytes::from)
        .map_err(|error| LinkError::Untrusted(error.to_string()))
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, LinkError> {
    serde_json::from_slice(body).map_err(|error| LinkError::Untrusted(error.to_string()))
}

pub(super) fn untrusted() -> LinkError {
    LinkError::Untrusted("it is not signed by the server that this device belongs to".into())
}
