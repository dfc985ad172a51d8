//! Permissions over devices, and the one place where a scope narrows what is read.

use super::{DeviceId, device::DEVICE_NOT_FOUND};
use crate::{
    access::{Permission, PermissionEntry, Role, Scope},
    kernel::Result,
    store::Filter,
};

/// See devices, their state and their inventory.
pub const DEVICES_READ: Permission = Permission::new("devices:read");
/// Rename, label, disable devices.
pub const DEVICES_WRITE: Permission = Permission::new("devices:write");
/// Delete devices.
pub const DEVICES_DELETE: Permission = Permission::new("devices:delete");
/// See groups of devices.
pub const GROUPS_READ: Permission = Permission::new("device-groups:read");
/// Make, alter and delete groups, and put devices into them.
pub const GROUPS_WRITE: Permission = Permission::new("device-groups:write");
/// See enrolment tokens, never their secrets.
pub const TOKENS_READ: Permission = Permission::new("enrolment-tokens:read");
/// Make and revoke enrolment tokens.
pub const TOKENS_WRITE: Permission = Permission::new("enrolment-tokens:write");

/// The lines of the permission table.
pub(super) fn table() -> Vec<PermissionEntry> {
    let entry = |permission, allows, least| PermissionEntry {
        permission,
        allows,
        least,
    };
    vec![
        entry(
            DEVICES_READ,
            "see devices, their state and their inventory",
            Role::Viewer,
        ),
        entry(
            DEVICES_WRITE,
            "rename, label, disable devices, and revoke their keys",
            Role::Operator,
        ),
        entry(DEVICES_DELETE, "delete devices", Role::Admin),
        entry(GROUPS_READ, "see groups of devices", Role::Viewer),
        entry(GROUPS_WRITE, "make groups and put devices into them", Role::Operator),
        entry(TOKENS_READ, "see enrolment tokens", Role::Operator),
        entry(TOKENS_WRITE, "make and revoke enrolment tokens", Role::Operator),
    ]
}

/// The summaries that a scope shows. A narrower scope becomes a filter here, and every list obeys.
pub(crate) fn in_scope(scope: &Scope) -> Filter {
    match scope {
        Scope::All => Filter::All,
    }
}

/// The same for the sections of inventories, which have a column of their device.
pub(crate) fn sections_in_scope(scope: &Scope) -> Filter {
    match scope {
        Scope::All => Filter::All,
    }
}

/// Refuses a device that is out of scope as if it did not exist.
pub(crate) fn require_in_scope(scope: &Scope, _device: DeviceId) -> Result<()> {
    match scope {
        Scope::All => Ok(()),
    }
}

/// The refusal of a device that does not exist or may not be known of.
pub(crate) fn not_found(device: DeviceId) -> crate::kernel::Error {
    DEVICE_NOT_FOUND.error(format!("there is no device {device}"))
}
