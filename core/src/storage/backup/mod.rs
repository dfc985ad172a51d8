//! Backups of this server: what is remembered of each, when one is due, which go.

mod make;
mod model;
mod rules;

pub(super) use make::{due, make, write_to};
pub use model::{BackupId, BackupOutcome, BackupTrigger, BackupView, StorageBackup};
pub(super) use rules::file_name;
