//! One request, signed.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use fleet_core::{
    kernel::{Clock as _, Randomness},
    protocol::{ASSERTION_HEADER, Assertion, MAX_EXCHANGE, PROOF_HEADER},
};
use serde::Deserialize;

use super::own_tls::OwnTls;
use crate::{clock::ServerClock, identity::Identity};

/// Why the server could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// No connection, or it broke.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The server answered with a refusal.
    #[error("the server refused: {message} ({code})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable code.
        code: String,
        /// What people read.
        message: String,
        /// Not to come back before this many seconds.
        retry_after_seconds: Option<u32>,
    },
    /// A TLS handshake failed: one of the two sides does not take the certificate of the other.
    #[error("no secure connection to the server: {0}")]
    Handshake(String),
    /// What came back is not what the protocol says, or is not signed by the pinned server.
    #[error("the server's answer cannot be trusted: {0}")]
    Untrusted(String),
}

impl LinkError {
    /// The code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the server does not take this device's certificate, or not any more.
    pub(super) fn is_about_certificate(&self) -> bool {
        match self {
            Self::Handshake(_) => true,
            _ => matches!(
                self.code(),
                Some("certificate.required" | "certificate.superseded" | "certificate.expired")
            ),
        }
    }

    /// How long the server asked to stay away.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused {
                retry_after_seconds, ..
            } => retry_after_seconds.map(|seconds| Duration::from_secs(u64::from(seconds))),
            _ => None,
        }
    }
}

/// The part of a problem that an agent reads.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: Option<String>,
    title: Option<String>,
}

/// Sends signed requests to the server of an identity. Cheap to clone.
#[derive(Clone)]
pub struct Http {
    way: Way,
    state: Arc<Path>,
    identity: Arc<Identity>,
    clock: Arc<ServerClock>,
    random: Arc<dyn Randomness>,
}

/// How the server is reached.
#[derive(Clone)]
enum Way {
    /// Plainly, or by TLS that the system's authorities vouch for. Requests are signed.
    Public(reqwest::Client),
    /// By the server's own TLS.
    Own(Arc<OwnTls>),
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http({})", self.identity.address)
    }
}

/// The client of an agent: few connections, no redirects, bounded times.
pub(crate) fn client() -> Result<reqwest::Client, LinkError> {
    builder()
        .build()
        .map_err(|error| LinkError::Unreachable(error.to_string()))
}

pub(super) fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("fleet-agent/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(Duration::from_secs(90))
}

impl Http {
    /// Sends to the server of `identity`. Where that ends TLS itself, the device's certificate is kept in the state directory.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] or [`LinkError::Handshake`] when there is no usable TLS configuration.
    pub fn new(
        identity: Arc<Identity>,
        state: &Path,
        clock: Arc<ServerClock>,
        random: Arc<dyn Randomness>,
    ) -> Result<Self, LinkError> {
        let way = match identity.own_tls {
            true => Way::Own(Arc::new(OwnTls::new(
                identity.clone(),
                clock.clone(),
                state.to_owned(),
            )?)),
            false => Way::Public(client()?),
        };
        Ok(Self {
            way,
            state: state.into(),
            identity,
            clock,
            random,
        })
    }

    /// Whether connections prove this device by its certificate, so that requests are not signed.
    pub(super) fn is_certified(&self) -> bool {
        self.tls().is_some()
    }

    pub(super) fn tls(&self) -> Option<&Arc<OwnTls>> {
        match &self.way {
            Way::Own(tls) => Some(tls),
            Way::Public(_) => None,
        }
    }

    pub(super) fn clock(&self) -> &Arc<ServerClock> {
        &self.clock
    }

    pub(super) fn client(&self) -> (reqwest::Client, u64) {
        match &self.way {
            Way::Own(tls) => tls.client(),
            Way::Public(client) => (client.clone(), 0),
        }
    }

    /// What to do about a request that failed: whether it is worth another try.
    async fn is_mended(&self, error: &LinkError, generation: u64) -> bool {
        if error.code() == Some("assertion.stale") {
            return self.learn_time().await.is_ok();
        }
        match self.tls() {
            Some(tls) if error.is_about_certificate() => {
                tls.doubt(generation);
                self.certify().await.is_ok()
            }
            _ => false,
        }
    }

    /// The state directory.
    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    /// Whose requests these are.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The header value that proves this device for one request.
    pub fn assertion(&self, method: &str, path: &str, body: &[u8]) -> String {
        Assertion::sign(
            &self.identity.key,
            self.identity.device,
            self.clock.now(),
            &*self.random,
            method,
            path,
            body,
        )
    }

    /// Posts a body; tries once more when the server says that this device's clock is off.
    ///
    /// # Errors
    /// As [`LinkError`] says.
    pub async fn post(
        &self,
        path: &str,
        content_type: &str,
        encoding: Option<&str>,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes, LinkError> {
        let mut tries = 2;
        loop {
            tries -= 1;
            let (client, generation) = self.client();
            let mut request = self.request(&client, path, content_type, &body, patience);
            if !self.is_certified() {
                request = request.header(ASSERTION_HEADER, self.assertion("POST", path, &body));
            }
            if let Some(encoding) = encoding {
                request = request.header("content-encoding", encoding);
            }
            let outcome = match request.send().await {
                Ok(response) => read(response).await,
                Err(error) => Err(unreachable(&error)),
            };
            match outcome {
                Err(error) if tries > 0 && self.is_mended(&error, generation).await => {}
                outcome => return outcome,
            }
        }
    }

    /// Posts JSON that a session key proves; once.
    ///
    /// # Errors
    /// As [`LinkError`] says; with the code `proof.invalid` the key does not count, and the server has taken nothing.
    pub(super) async fn post_proved(
        &self,
        path: &str,
        proof: String,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes, LinkError> {
        let request = self.request(&self.client().0, path, "application/json", &body, patience);
        let response = request.header(PROOF_HEADER, proof).send().await;
        read(response.map_err(|error| unreachable(&error))?).await
    }

    fn request(
        &self,
        client: &reqwest::Client,
        path: &str,
        content_type: &str,
        body: &Bytes,
        patience: Duration,
    ) -> reqwest::RequestBuilder {
        client
            .post(format!("{}{path}", self.identity.address))
            .header("content-type", content_type)
            .timeout(patience)
            .body(body.clone())
    }

    /// Where nonces and keys come from.
    pub(super) fn random(&self) -> &dyn Randomness {
        &*self.random
    }
}

/// The body of an answer, or the refusal that it is.
pub(crate) async fn read(mut response: reqwest::Response) -> Result<Bytes, LinkError> {
    let status = response.status();
    let retry_after_seconds = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| unreachable(&error))? {
        // Whatever the other side is, it does not fill this device's memory.
        if body.len() + part.len() > MAX_EXCHANGE {
            return Err(LinkError::Untrusted("the answer is too long".into()));
        }
        body.extend_from_slice(&part);
    }
    if status.is_success() {
        return Ok(Bytes::from(body));
    }
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    Err(LinkError::Refused {
        status: status.as_u16(),
        code: if problem.code.is_empty() {
            "link.refused".into()
        } else {
            problem.code
        },
        message: problem.detail.or(problem.title).unwrap_or_else(|| status.to_string()),
        retry_after_seconds,
    })
}

/// The whole chain of causes, without the URL, which says nothing new.
pub(crate) fn unreachable(error: &reqwest::Error) -> LinkError {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    let of_tls = cause.is_some_and(is_of_tls);
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() {
        text = error.to_string();
    }
    if of_tls {
        LinkError::Handshake(text)
    } else {
        LinkError::Unreachable(text)
    }
}

/// Whether TLS is among the causes of an error.
pub(super) fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // What an I/O error wraps is not its source.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || wrapped.is_some_and(|wrapped| is_of_tls(wrapped)) {
            return true;
        }
        cause = error.source();
    }
    false
}
