//! What this part brings along.

use std::{sync::Arc, time::Duration};

use super::{
    BACKUP, BACKUP_BLOBS, BACKUP_EVERY, BACKUP_FINISH, BACKUP_FOLDER, BACKUP_KEEP, CHECK, EndedMove, MOVE_CANCEL,
    MOVE_FINISH, MOVE_START, PLAN, REPAIR, RESTORE, STORAGE_MANAGE, STORAGE_READ, StorageBackup,
};
use crate::{
    access::{PermissionEntry, Role},
    modules::{Job, Module},
    store::kind_schema,
};

/// How often it is looked whether a backup is due.
const LOOK: Duration = Duration::from_secs(5 * 60);

/// What `storage` brings along.
pub fn module() -> Module {
    let admin = |permission, allows| PermissionEntry {
        permission,
        allows,
        least: Role::Admin,
    };
    Module {
        name: "storage",
        kinds: vec![kind_schema::<StorageBackup>(), kind_schema::<EndedMove>()],
        permissions: vec![
            admin(STORAGE_READ, "see the store: backend, contents, health, backups, moves"),
            admin(STORAGE_MANAGE, "check, back up and move the store"),
        ],
        actions: vec![
            CHECK,
            BACKUP,
            BACKUP_FINISH,
            REPAIR,
            RESTORE,
            PLAN,
            MOVE_START,
            MOVE_FINISH,
            MOVE_CANCEL,
        ],
        settings: vec![
            BACKUP_FOLDER.definition(),
            BACKUP_EVERY.definition(),
            BACKUP_KEEP.definition(),
            BACKUP_BLOBS.definition(),
        ],
        jobs: vec![Job {
            name: "storage.backup",
            every: LOOK,
            tick: Arc::new(|fleet| Box::pin(async move { fleet.storage().make_if_due().await })),
        }],
        ..Module::default()
    }
}
