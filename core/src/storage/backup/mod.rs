//! Backups of this server: what is remembered of each, when one is due, which go.

mod make;
mod model;
mod rules;
mod upgrade;

pub(super) use make::{Writing, due, make};
pub use model::{BackedUpBlobs, BackupId, BackupOutcome, BackupTrigger, BackupView, StorageBackup};
pub(super) use rules::file_name;
pub(crate) use upgrade::{Upgrade, note as note_upgrade};
