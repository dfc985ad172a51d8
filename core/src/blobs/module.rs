//! What this part brings along.

use std::{sync::Arc, time::Duration};

use super::{BLOBS_CLEAN, Blob, clean};
use crate::{
    modules::{Job, Module},
    store::kind_schema,
};

/// What `blobs` brings along.
pub fn module() -> Module {
    Module {
        name: "blobs",
        kinds: vec![kind_schema::<Blob>()],
        actions: vec![BLOBS_CLEAN],
        jobs: vec![
            Job {
                name: "blobs.clean",
                every: Duration::from_secs(3_600),
                tick: Arc::new(|fleet| Box::pin(async move { clean::clean(&fleet).await })),
            },
            Job {
                name: "blobs.adopt",
                every: Duration::from_secs(24 * 3_600),
                tick: Arc::new(|fleet| Box::pin(async move { clean::adopt(&fleet).await })),
            },
        ],
        ..Module::default()
    }
}
