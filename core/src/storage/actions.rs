//! Permissions, audit actions and error codes of storage.

use crate::{
    access::{Action, Permission},
    kernel::{Class, Code},
};

/// See the store: backend, size, health, backups.
pub const STORAGE_READ: Permission = Permission::new("storage:read");
/// Check, back up and move the store.
pub const STORAGE_MANAGE: Permission = Permission::new("storage:manage");

/// A check of the store was asked for.
pub const CHECK: Action = Action::new("storage.check");
/// A backup was asked for.
pub const BACKUP: Action = Action::new("storage.backup");
/// A backup was made, or failed; also without a server.
pub const BACKUP_FINISH: Action = Action::new("storage.backup.finish");
/// The store was filled from a backup.
pub const RESTORE: Action = Action::new("storage.restore");
/// Damaged lines of the store were set aside, without a server.
pub const REPAIR: Action = Action::new("storage.repair");
/// Somebody asked what a move of the store would do.
pub const PLAN: Action = Action::new("storage.plan");
/// A move of the store was begun.
pub const MOVE_START: Action = Action::new("storage.move");
/// A move of the store was over.
pub const MOVE_FINISH: Action = Action::new("storage.move.finish");
/// A move of the store was given up.
pub const MOVE_CANCEL: Action = Action::new("storage.move.cancel");

/// Something else is under way with the store: one thing at a time.
pub const BUSY: Code = Code::new("storage.busy", Class::Conflict);
/// The server has no folder for backups.
pub const BACKUP_UNAVAILABLE: Code = Code::new("storage.backup_unavailable", Class::Conflict);
/// A backup could not be written.
pub const BACKUP_FAILED: Code = Code::new("storage.backup_failed", Class::Unavailable);
/// There is no such move that this server remembers.
pub const MOVE_NOT_FOUND: Code = Code::new("storage.move_not_found", Class::NotFound);
/// This server cannot open the store.
pub const MOVE_UNAVAILABLE: Code = Code::new("storage.move_unavailable", Class::Conflict);
