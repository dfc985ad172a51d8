//! What a backup says of itself.

use serde::{Deserialize, Serialize};

use super::WrappedKey;
use crate::{kernel::Timestamp, store::Seq};

/// What a backup says of itself, readable without any key. Later versions may add members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// When it was made.
    pub made_at: Timestamp,
    /// The version of fleet that made it.
    pub version: String,
    /// The backend of the store, such as `sqlite`. Any other can take it.
    pub backend: String,
    /// The newest commit in it.
    pub seq: Seq,
    /// Where the master key is.
    pub key: KeyPart,
    /// Whether the blobs that the store refers to are in it.
    #[serde(default)]
    pub blobs: bool,
}

/// Where the master key of a backup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum KeyPart {
    /// In the backup, under a passphrase.
    Wrapped(WrappedKey),
    /// Not in the backup: without its file, nothing that is sealed can be opened again.
    LeftOut {
        /// Its id.
        id: String,
    },
}

impl KeyPart {
    /// The id of the key.
    pub fn id(&self) -> &str {
        match self {
            Self::Wrapped(wrapped) => &wrapped.id,
            Self::LeftOut { id } => id,
        }
    }

    /// Whether the key is in the backup.
    pub fn is_in(&self) -> bool {
        matches!(self, Self::Wrapped(_))
    }
}
