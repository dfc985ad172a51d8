//! One request, signed.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use fleet_core::{
    kernel::{Clock as _, Randomness, Timestamp},
    protocol::{ASSERTION_HEADER, Assertion, MAX_EXCHANGE, PROOF_HEADER, TIME_HEADER},
};
use serde::Deserialize;

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
    client: reqwest::Client,
    identity: Arc<Identity>,
    clock: Arc<ServerClock>,
    random: Arc<dyn Randomness>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http({})", self.identity.address)
    }
}

/// The client of an agent: few connections, no redirects, bounded times.
pub(crate) fn client() -> Result<reqwest::Client, LinkError> {
    reqwest::Client::builder()
        .user_agent(concat!("fleet-agent/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(Duration::from_secs(90))
        .build()
        .map_err(|error| LinkError::Unreachable(error.to_string()))
}

impl Http {
    /// Sends to the server of `identity`.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] when the system gives no TLS configuration.
    pub fn new(
        identity: Arc<Identity>,
        clock: Arc<ServerClock>,
        random: Arc<dyn Randomness>,
    ) -> Result<Self, LinkError> {
        Ok(Self {
            client: client()?,
            identity,
            clock,
            random,
        })
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
            let mut request = self
                .request(path, content_type, &body, patience)
                .header(ASSERTION_HEADER, self.assertion("POST", path, &body));
            if let Some(encoding) = encoding {
                request = request.header("content-encoding", encoding);
            }
            let response = request.send().await.map_err(|error| unreachable(&error))?;
            let learnt = self.learn_time(response.headers());
            match read(response).await {
                Err(error) if error.code() == Some("assertion.stale") && learnt && tries > 0 => {}
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
        let request = self.request(path, "application/json", &body, patience);
        let response = request.header(PROOF_HEADER, proof).send().await;
        let response = response.map_err(|error| unreachable(&error))?;
        self.learn_time(response.headers());
        read(response).await
    }

    fn request(&self, path: &str, content_type: &str, body: &Bytes, patience: Duration) -> reqwest::RequestBuilder {
        self.client
            .post(format!("{}{path}", self.identity.address))
            .header("content-type", content_type)
            .timeout(patience)
            .body(body.clone())
    }

    /// Where nonces and keys come from.
    pub(super) fn random(&self) -> &dyn Randomness {
        &*self.random
    }

    /// Takes over the server's time from an answer; whether there was one.
    pub(crate) fn learn_time(&self, headers: &reqwest::header::HeaderMap) -> bool {
        let time = headers
            .get(TIME_HEADER)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse::<Timestamp>().ok());
        if let Some(time) = time {
            self.clock.learn(time);
        }
        time.is_some()
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
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    LinkError::Unreachable(if text.is_empty() { error.to_string() } else { text })
}
