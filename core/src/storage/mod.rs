//! The store as something that is looked after: what it is, whether it is well, its backups, its moves.
//!
//! ```text
//!   service   StorageService: show, check, back up
//!   restore   without a server: read a backup through, fill a store from it; unpack: records and blobs of a backup
//!   moves     to another backend while writers go on, and back; ended_move: what is remembered of them
//!   backup/   backups of this server: what is remembered of each, when one is due, which go
//!   archive/  the file: format, writer, reader, wrapped key
//!   desk      what is under way: one thing at a time, done by the loop of Fleet::run
//!   ports     what the edge hands in: a folder for files, stores by URI
//! ```
//!
//! What takes long is not done while a request waits: the service notes it on the desk, leaves its audit entry, and
//! [`Fleet::run`](crate::Fleet::run) does it.

mod actions;
pub mod archive;
mod backup;
mod desk;
mod ended_move;
mod model;
mod module;
mod moves;
pub mod ports;
mod repair;
mod restore;
mod service;
mod settings;
mod unpack;

pub use actions::{
    BACKUP, BACKUP_FAILED, BACKUP_FINISH, BACKUP_UNAVAILABLE, BUSY, CHECK, MOVE_CANCEL, MOVE_FINISH, MOVE_NOT_FOUND,
    MOVE_START, MOVE_UNAVAILABLE, PLAN, REPAIR, RESTORE, STORAGE_MANAGE, STORAGE_READ,
};
pub use backup::{BackedUpBlobs, BackupId, BackupOutcome, BackupTrigger, BackupView, StorageBackup};
pub(crate) use backup::{Upgrade, note_upgrade};
pub(crate) use desk::Desk;
pub use ended_move::{EndedMove, MoveId};
pub use model::{
    Activity, ActivityKind, CheckResult, FindingView, MoveMark, PhaseName, StorageCount, StorageSize, StorageView,
};
pub use module::module;
pub use moves::{MovePlan, MoveRequest, MoveState, StorageMove};
pub use repair::repair_entry;
pub use restore::{Filling, Restored, read_through, record_restore, restore};
pub use service::StorageService;
pub(crate) use service::drive;
pub use settings::{BACKUP_BLOBS, BACKUP_EVERY, BACKUP_FOLDER, BACKUP_KEEP};
pub use unpack::UnpackedBlobs;

#[cfg(test)]
mod tests;
