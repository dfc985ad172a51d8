//! What carries requests and sockets, where it is not TCP of this process.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use super::{LinkError, Transport, http::refusal};

/// Carries requests to a server, and opens sockets to it. What is in the requests proves the device; a carrier proves nothing.
#[async_trait]
pub trait Carrier: fmt::Debug + Send + Sync + 'static {
    /// Posts a body.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] when no answer came; the server may have taken the request all the same.
    async fn post(&self, request: Post) -> Result<Reply, LinkError>;

    /// Opens a socket, which the assertion proves.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`], or the refusal that [`Reply::body`] makes of an answer.
    async fn socket(&self, path: &str, assertion: &str) -> Result<Box<dyn Transport>, LinkError>;
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// The path.
    pub path: String,
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// What `Retry-After` says, in seconds.
    pub retry_after_seconds: Option<u32>,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// The body of an answer, or the refusal that it is.
    ///
    /// # Errors
    /// [`LinkError::Refused`] when the status is no success.
    pub fn body(self) -> Result<Bytes, LinkError> {
        if (200..300).contains(&self.status) {
            Ok(self.body)
        } else {
            Err(refusal(self.status, &self.body, self.retry_after_seconds))
        }
    }
}
