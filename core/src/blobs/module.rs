//! What this part brings along.

use std::{sync::Arc, time::Duration};

use super::{BLOB_CREATE, BLOBS_CLEAN, BLOBS_UPLOAD, Blob, clean};
use crate::{
    access::{PermissionEntry, Role},
    modules::{Job, Module},
    store::kind_schema,
};

/// What `blobs` brings along.
pub fn module() -> Module {
    Module {
        name: "blobs",
        kinds: vec![kind_schema::<Blob>()],
        permissions: vec![PermissionEntry {
            permission: BLOBS_UPLOAD,
            allows: "upload what is too large for parameters",
            least: Role::Operator,
        }],
        actions: vec![BLOB_CREATE, BLOBS_CLEAN],
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
