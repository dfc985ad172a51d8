//! What is stored of a backup.

use serde::{Deserialize, Serialize};

use crate::{Entity, kernel::Timestamp, store::Seq};

crate::define_id!(
    /// Names a backup of the server.
    BackupId,
    "backup"
);

/// Why a backup was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BackupTrigger {
    /// Somebody asked for it.
    Manual,
    /// It was due.
    Schedule,
    /// A newer version was started, which needed the store in another shape.
    Upgrade,
}

/// How a backup ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum BackupOutcome {
    /// The file is complete.
    Done {
        /// Its size in bytes.
        bytes: u64,
        /// How many records are in it.
        records: u64,
        /// The newest commit in it.
        seq: Seq,
        /// The digest over the records, in hexadecimal.
        digest: String,
        /// Whether the master key is in it, under a passphrase. Without its key a backup opens no secrets.
        key_included: bool,
    },
    /// There is no file.
    Failed {
        /// Why.
        problem: String,
    },
}

/// The blobs in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BackedUpBlobs {
    /// How many.
    pub count: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// How many are not in it, because they are damaged or missing.
    pub damaged: u64,
}

/// A backup of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "storage_backup", version = 1)]
pub struct StorageBackup {
    /// Its id.
    #[entity(id)]
    pub id: BackupId,
    /// When it was begun; it holds what was committed until then.
    #[entity(int)]
    pub made_at: Timestamp,
    /// How long it took, in seconds.
    pub took_seconds: u64,
    /// Why it was made.
    pub trigger: BackupTrigger,
    /// The folder, as the setting said then.
    pub folder: String,
    /// The file's name.
    pub file: String,
    /// How it ended.
    pub outcome: BackupOutcome,
    /// The blobs in it; none when they were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blobs: Option<BackedUpBlobs>,
}

/// A backup of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BackupView {
    /// Its id.
    pub id: BackupId,
    /// When it was begun; it holds what was committed until then.
    pub made_at: Timestamp,
    /// How long it took, in seconds.
    pub took_seconds: u64,
    /// Why it was made.
    pub trigger: BackupTrigger,
    /// The folder: absolute, or below the server's data.
    pub folder: String,
    /// The file's name.
    pub file: String,
    /// How it ended.
    pub outcome: BackupOutcome,
    /// The blobs in it; none when they were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blobs: Option<BackedUpBlobs>,
}

impl From<StorageBackup> for BackupView {
    fn from(backup: StorageBackup) -> Self {
        let StorageBackup {
            id,
            made_at,
            took_seconds,
            trigger,
            folder,
            file,
            outcome,
            blobs,
        } = backup;
        Self {
            id,
            made_at,
            took_seconds,
            trigger,
            folder,
            file,
            outcome,
            blobs,
        }
    }
}
