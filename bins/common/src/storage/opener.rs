//! Opens stores for a running server that moves its data.

use std::sync::Arc;

use async_trait::async_trait;
use fleet_core::{
    kernel::Clock,
    storage::ports::StorageOpener,
    store::{self, Backend},
};

use super::{Purpose, StoreUri, open};

/// Opens any store that this build has a backend for.
#[derive(Debug)]
pub struct Opener {
    clock: Arc<dyn Clock>,
}

impl Opener {
    /// Stores take the time from this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

#[async_trait]
impl StorageOpener for Opener {
    fn redacted(&self, uri: &str) -> Result<String, String> {
        match uri.parse::<StoreUri>() {
            Ok(uri) => Ok(uri.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn exists(&self, uri: &str) -> Option<bool> {
        uri.parse::<StoreUri>().ok()?.exists()
    }

    async fn open(&self, uri: &str) -> store::Result<Arc<dyn Backend>> {
        let uri: StoreUri = uri
            .parse()
            .map_err(|error: super::UriError| store::Error::Refused(error.to_string()))?;
        Ok(open(&uri, Purpose::Serve, self.clock.clone()).await?.backend)
    }
}
