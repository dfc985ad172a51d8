//! What this part brings along.

use super::{RESET, SET, SETTINGS_READ, SETTINGS_WRITE, StoredSetting};
use crate::{
    access::{PermissionEntry, Role},
    modules::Module,
    store::kind_schema,
};

/// What `settings` brings along.
pub fn module() -> Module {
    Module {
        name: "settings",
        kinds: vec![kind_schema::<StoredSetting>()],
        permissions: vec![
            PermissionEntry {
                permission: SETTINGS_READ,
                allows: "see settings and where their values come from",
                least: Role::Admin,
            },
            PermissionEntry {
                permission: SETTINGS_WRITE,
                allows: "change settings",
                least: Role::Admin,
            },
        ],
        actions: vec![SET, RESET],
        ..Module::default()
    }
}
