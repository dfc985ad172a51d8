//! What this part brings along.

use std::{sync::Arc, time::Duration};

use super::{
    ESCROW_ABANDON, ESCROW_CLEAN, ESCROW_CONFIRM, ESCROW_DEPOSIT, ESCROW_READ, ESCROW_READ_BY_DEVICE, ESCROW_REVEAL,
    ESCROW_REVEALED, EscrowedSecret,
    clean::clean,
    disk_keys::{
        DISK_KEY_TOLD, DISK_PASSPHRASES_OWN, DISK_PASSPHRASES_WRITE, DeviceDiskKeys, PASSPHRASE_TOKEN_CREATE,
        PASSPHRASE_TOKEN_USE,
    },
};
use crate::{
    access::{PermissionEntry, Role},
    modules::{Job, Module},
    store::kind_schema,
};

/// What `escrow` brings along.
pub fn module() -> Module {
    Module {
        name: "escrow",
        kinds: vec![kind_schema::<EscrowedSecret>(), kind_schema::<DeviceDiskKeys>()],
        permissions: vec![
            PermissionEntry {
                permission: ESCROW_READ,
                allows: "see which passwords and passphrases of devices are kept, not themselves",
                least: Role::Operator,
            },
            PermissionEntry {
                permission: ESCROW_REVEAL,
                allows: "read passwords of local users and passphrases of disks",
                least: Role::Admin,
            },
            PermissionEntry {
                permission: DISK_PASSPHRASES_WRITE,
                allows: "let passphrases be chosen for the disks of any device",
                least: Role::Admin,
            },
            PermissionEntry {
                permission: DISK_PASSPHRASES_OWN,
                allows: "let passphrases be chosen for the disks of one's own devices",
                least: Role::Viewer,
            },
        ],
        actions: vec![
            ESCROW_DEPOSIT,
            ESCROW_CONFIRM,
            ESCROW_ABANDON,
            ESCROW_READ_BY_DEVICE,
            ESCROW_REVEALED,
            ESCROW_CLEAN,
            PASSPHRASE_TOKEN_CREATE,
            PASSPHRASE_TOKEN_USE,
            DISK_KEY_TOLD,
        ],
        jobs: vec![Job {
            name: "escrow.devices_gone",
            every: Duration::from_secs(6 * 3_600),
            tick: Arc::new(|fleet| Box::pin(clean(fleet))),
        }],
        ..Module::default()
    }
}
