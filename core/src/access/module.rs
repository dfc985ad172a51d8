//! What this part brings along.

use super::{AuditEntry, PermissionEntry, Role, audit::AUDIT_READ};
use crate::{modules::Module, store::lane_schema};

/// What `access` brings along.
pub fn module() -> Module {
    Module {
        name: "access",
        lanes: vec![lane_schema::<AuditEntry>()],
        permissions: vec![PermissionEntry {
            permission: AUDIT_READ,
            allows: "read the audit",
            least: Role::Admin,
        }],
        ..Module::default()
    }
}
