//! What this part brings along.

use std::{sync::Arc, time::Duration};

use super::{
    CERTIFICATES_MANAGE, CERTIFICATES_READ, CertificateAuthority,
    actions::{AUTHORITY_CREATE, AUTHORITY_DELETE, AUTHORITY_PROMOTE},
};
use crate::{
    access::{PermissionEntry, Role},
    modules::{Job, Module},
    store::kind_schema,
};

/// What `certificates` brings along.
pub fn module() -> Module {
    Module {
        name: "certificates",
        kinds: vec![kind_schema::<CertificateAuthority>()],
        permissions: vec![
            PermissionEntry {
                permission: CERTIFICATES_READ,
                allows: "see the fleet's certificate authorities",
                least: Role::Admin,
            },
            PermissionEntry {
                permission: CERTIFICATES_MANAGE,
                allows: "announce, promote and delete certificate authorities",
                least: Role::Admin,
            },
        ],
        actions: vec![AUTHORITY_CREATE, AUTHORITY_PROMOTE, AUTHORITY_DELETE],
        jobs: vec![Job {
            name: "certificates.turn_over",
            every: Duration::from_secs(3_600),
            tick: Arc::new(|fleet| Box::pin(async move { fleet.certificates().turn_over().await })),
        }],
        ..Module::default()
    }
}
