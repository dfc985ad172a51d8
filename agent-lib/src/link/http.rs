//! One request, signed.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use fleet_core::{
    kernel::{Clock as _, PublicKey, Randomness},
    protocol::{ASSERTION_HEADER, Assertion, MAX_EXCHANGE, PROOF_HEADER},
};
use serde::Deserialize;

use super::{Carrier, Post, Reply, own_tls::OwnTls, pin};
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
    /// By whatever this is. Requests are signed.
    Carried(Arc<dyn Carrier>),
}

/// What one request is sent by.
#[derive(Clone)]
pub(super) enum Client {
    Web(reqwest::Client),
    Carried(Arc<dyn Carrier>),
}

impl Client {
    /// Posts a body and reads the answer.
    pub(super) async fn post(&self, address: &str, post: Post, patience: Duration) -> Result<Bytes, LinkError> {
        self.post_for(address, post, patience, MAX_EXCHANGE).await
    }

    /// The same, where the answer may have so many bytes.
    async fn post_for(&self, address: &str, post: Post, patience: Duration, most: usize) -> Result<Bytes, LinkError> {
        match self {
            Self::Web(client) => {
                let mut request = client
                    .post(format!("{address}{}", post.path))
                    .timeout(patience)
                    .body(post.body);
                for (name, value) in post.headers {
                    request = request.header(name, value);
                }
                let response = request.send().await.map_err(|error| unreachable(&error))?;
                read_at_most(response, most).await
            }
            Self::Carried(carrier) => tokio::time::timeout(patience, carrier.post(post))
                .await
                .unwrap_or_else(|_| Err(LinkError::Unreachable("no answer in time".into())))
                .and_then(Reply::body),
        }
    }
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

    /// Sends to the server of `identity` by something else than TCP of this process.
    pub fn carried(
        carrier: Arc<dyn Carrier>,
        identity: Arc<Identity>,
        state: &Path,
        clock: Arc<ServerClock>,
        random: Arc<dyn Randomness>,
    ) -> Self {
        Self {
            way: Way::Carried(carrier),
            state: state.into(),
            identity,
            clock,
            random,
        }
    }

    /// Whether connections prove this device by its certificate, so that requests are not signed.
    pub(super) fn is_certified(&self) -> bool {
        self.tls().is_some()
    }

    pub(super) fn tls(&self) -> Option<&Arc<OwnTls>> {
        match &self.way {
            Way::Own(tls) => Some(tls),
            Way::Public(_) | Way::Carried(_) => None,
        }
    }

    pub(super) fn carrier(&self) -> Option<&Arc<dyn Carrier>> {
        match &self.way {
            Way::Carried(carrier) => Some(carrier),
            Way::Public(_) | Way::Own(_) => None,
        }
    }

    pub(crate) fn clock(&self) -> &Arc<ServerClock> {
        &self.clock
    }

    pub(super) fn client(&self) -> (Client, u64) {
        match &self.way {
            Way::Own(tls) => {
                let (client, generation) = tls.client();
                (Client::Web(client), generation)
            }
            Way::Public(client) => (Client::Web(client.clone()), 0),
            Way::Carried(carrier) => (Client::Carried(carrier.clone()), 0),
        }
    }

    /// Mends what made a request fail, where that is worth another try.
    ///
    /// # Errors
    /// What is to be told: the failure itself; or that of mending it, where the server said when to come again.
    async fn mend(&self, error: LinkError, generation: u64) -> Result<(), LinkError> {
        let mended = if error.code() == Some("assertion.stale") {
            self.learn_time().await
        } else {
            match self.tls() {
                Some(tls) if error.is_about_certificate() => {
                    tls.doubt(generation);
                    self.certify().await
                }
                _ => return Err(error),
            }
        };
        match mended {
            Err(busy) if busy.retry_after().is_some() => Err(busy),
            mended => mended.map_err(|_| error),
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
        self.post_for(path, content_type, encoding, body, patience, MAX_EXCHANGE)
            .await
    }

    /// The same, where the answer may have so many bytes.
    ///
    /// # Errors
    /// As [`LinkError`] says.
    pub(crate) async fn post_for(
        &self,
        path: &str,
        content_type: &str,
        encoding: Option<&str>,
        body: Bytes,
        patience: Duration,
        most: usize,
    ) -> Result<Bytes, LinkError> {
        let mut tries = 2;
        loop {
            tries -= 1;
            let (client, generation) = self.client();
            let mut post = self.request(path, content_type, &body);
            if !self.is_certified() {
                post.headers
                    .push((ASSERTION_HEADER, self.assertion("POST", path, &body)));
            }
            if let Some(encoding) = encoding {
                post.headers.push(("content-encoding", encoding.to_owned()));
            }
            let outcome = client.post_for(&self.identity.address, post, patience, most).await;
            match outcome {
                Err(error) if tries > 0 => self.mend(error, generation).await?,
                outcome => return outcome,
            }
        }
    }

    /// Gets something, tries once more as [`Http::post`] does; whoever reads the body bounds it.
    ///
    /// # Errors
    /// As [`LinkError`] says.
    pub(crate) async fn get(
        &self,
        path: &str,
        query: Option<&str>,
        patience: Duration,
    ) -> Result<reqwest::Response, LinkError> {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let mut tries = 2;
        loop {
            tries -= 1;
            let (Client::Web(client), generation) = self.client() else {
                return Err(LinkError::Unreachable("programs come by HTTP only".into()));
            };
            let mut request = client
                .get(format!("{}{path}{query}", self.identity.address))
                .timeout(patience);
            if !self.is_certified() {
                request = request.header(ASSERTION_HEADER, self.assertion("GET", path, b""));
            }
            let outcome = match request.send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => read(response).await.map(drop),
                Err(error) => Err(unreachable(&error)),
            };
            match outcome {
                Err(error) if tries > 0 => self.mend(error, generation).await?,
                Err(error) => return Err(error),
                Ok(()) => return Err(LinkError::Untrusted("an answer of no kind".into())),
            }
        }
    }

    /// The key that signs work, as far as this device has pinned it.
    pub(crate) fn dispatch_key(&self) -> Option<PublicKey> {
        pin::pinned(&self.state, &self.identity)
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
        let mut post = self.request(path, "application/json", &body);
        post.headers.push((PROOF_HEADER, proof));
        self.client().0.post(&self.identity.address, post, patience).await
    }

    pub(super) fn request(&self, path: &str, content_type: &str, body: &Bytes) -> Post {
        Post {
            path: path.to_owned(),
            headers: vec![("content-type", content_type.to_owned())],
            body: body.clone(),
        }
    }

    /// Where nonces and keys come from.
    pub(super) fn random(&self) -> &dyn Randomness {
        &*self.random
    }
}

/// The body of an answer, or the refusal that it is.
pub(crate) async fn read(response: reqwest::Response) -> Result<Bytes, LinkError> {
    read_at_most(response, MAX_EXCHANGE).await
}

pub(super) async fn read_at_most(mut response: reqwest::Response, most: usize) -> Result<Bytes, LinkError> {
    let status = response.status();
    let retry_after_seconds = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| unreachable(&error))? {
        // Whatever the other side is, it does not fill this device's memory.
        if body.len() + part.len() > most {
            return Err(LinkError::Untrusted("the answer is too long".into()));
        }
        body.extend_from_slice(&part);
    }
    if status.is_success() {
        return Ok(Bytes::from(body));
    }
    Err(refusal(status.as_u16(), &body, retry_after_seconds))
}

/// What an answer says that is no success.
pub(super) fn refusal(status: u16, body: &[u8], retry_after_seconds: Option<u32>) -> LinkError {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    LinkError::Refused {
        status,
        code: if problem.code.is_empty() {
            "link.refused".into()
        } else {
            problem.code
        },
        message: problem.detail.or(problem.title).unwrap_or_else(|| {
            reqwest::StatusCode::from_u16(status).map_or_else(|_| status.to_string(), |status| status.to_string())
        }),
        retry_after_seconds,
    }
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
