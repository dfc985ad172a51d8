//! Contents that parameters name: requests of their own.

use std::time::Duration;

use async_trait::async_trait;
use fleet_core::blobs::{BlobDigest, MAX_CONTENT};

use super::{Http, LinkError, http::read_at_most};
use crate::contents::{ContentError, Contents};

/// How long a content may take.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

#[async_trait]
impl Contents for Http {
    async fn fetch(&self, digest: BlobDigest) -> Result<Vec<u8>, ContentError> {
        let most = usize::try_from(MAX_CONTENT).unwrap_or(usize::MAX);
        let fetched = async {
            let response = self.get(&format!("/agent/v1/blobs/{digest}"), None, PATIENCE).await?;
            read_at_most(response, most).await
        };
        match fetched.await {
            Ok(bytes) => Ok(bytes.into()),
            Err(LinkError::Refused { status: 404, .. }) => Err(ContentError::Missing),
            Err(LinkError::Refused {
                status, code, message, ..
            }) if !matches!(status, 429 | 500..) => Err(ContentError::Refused { code, message }),
            Err(error) => Err(ContentError::Unreachable(error.to_string())),
        }
    }
}
