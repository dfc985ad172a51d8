//! What this part brings along.

use super::{
    AgentRelease, RELEASE_CREATE, RELEASE_WITHDRAW, RELEASES_MANAGE, RELEASES_READ, ROLLBACK_FLOOR, UPDATES_ENABLED,
    gate,
};
use crate::{
    access::{PermissionEntry, Role},
    blobs::BlobHolder,
    modules::Module,
    store::kind_schema,
};

/// What `agents` brings along.
pub fn module() -> Module {
    Module {
        name: "agents",
        kinds: vec![kind_schema::<AgentRelease>()],
        permissions: vec![
            PermissionEntry {
                permission: RELEASES_READ,
                allows: "see the releases of the agent",
                least: Role::Viewer,
            },
            PermissionEntry {
                permission: RELEASES_MANAGE,
                allows: "upload and withdraw releases of the agent",
                least: Role::Admin,
            },
        ],
        actions: vec![RELEASE_CREATE, RELEASE_WITHDRAW],
        settings: vec![UPDATES_ENABLED.definition(), ROLLBACK_FLOOR.definition()],
        blob_holders: vec![BlobHolder::of(AgentRelease::HELD_BLOB)],
        gates: vec![gate::GATE],
        ..Module::default()
    }
}
