//! What is too large for parameters: they name it, and its server has it.

use std::fmt;

use async_trait::async_trait;
use fleet_core::blobs::BlobDigest;

/// Where contents come from.
#[async_trait]
pub trait Contents: fmt::Debug + Send + Sync + 'static {
    /// The bytes that a server gives for a digest, as they came: whoever asks checks them.
    ///
    /// # Errors
    /// When none came.
    async fn fetch(&self, digest: BlobDigest) -> Result<Vec<u8>, ContentError>;
}

/// Why a content does not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The server cannot be reached, or cannot give it now. Later it may.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The server does not have it.
    #[error("the server does not have it")]
    Missing,
    /// The server does not give it to this device.
    #[error("the server does not give it: {message} ({code})")]
    Refused {
        /// The stable code.
        code: String,
        /// What people read.
        message: String,
    },
}
