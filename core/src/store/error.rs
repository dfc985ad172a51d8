//! What can go wrong in a backend. Each variant is an outcome; [`Error::certainly_not_written`] says what it means for the
//! data.

use super::{Expect, Key, Name, Phase, Rev, Seq};

/// A cause from below the contract.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The result of a storage call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a storage call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A document is not at the expected revision. A normal answer: read again and decide anew.
    #[error("{key}: expected {expect}, found {}", found.map_or_else(|| "nothing".to_owned(), |rev| format!("revision {rev}")))]
    Conflict {
        /// The document.
        key: Key,
        /// What the batch demanded.
        expect: Expect,
        /// What is there.
        found: Option<Rev>,
    },
    /// A unique column already holds the value in another document.
    #[error("{column} of {holder} already has this value")]
    Taken {
        /// The unique column.
        column: Name,
        /// Who has the value.
        holder: Key,
    },
    /// Another row stands at this place of the lane.
    #[error("lane {lane}: another row stands at {stream}/{at}/{n}")]
    RowConflict {
        /// The lane.
        lane: Name,
        /// The stream.
        stream: uuid::Uuid,
        /// The time of the row, in microseconds.
        at: i64,
        /// Its number within that time.
        n: u32,
    },
    /// The batch id was used for a batch with other contents.
    #[error("batch {0} was committed with other contents")]
    BatchReused(uuid::Uuid),
    /// A query names a column that is not declared.
    #[error("no declared index serves {subject}.{column}")]
    NoIndex {
        /// The kind or lane.
        subject: String,
        /// The column.
        column: String,
    },
    /// A call breaks a rule of the contract: an undeclared kind, a value of the wrong type, a limit exceeded.
    #[error("not allowed by the storage contract: {0}")]
    Invalid(String),
    /// The feed no longer reaches back to the given place.
    #[error("changes up to {0} are gone")]
    Compacted(Seq),
    /// Stored data is damaged.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// The store does not serve: it is frozen, or being filled.
    #[error("{0}")]
    NotServing(Box<Phase>),
    /// The store cannot be used as asked: written by a newer version, in use by another process, not empty.
    #[error("{0}")]
    Refused(String),
    /// Storage cannot be reached; nothing was written.
    #[error("storage is unavailable; nothing was written: {0}")]
    Unavailable(#[source] BoxError),
    /// It is not known whether the write happened; the same batch id, sent again, tells.
    #[error("outcome unknown; send the same batch again to learn it: {0}")]
    Unknown(#[source] BoxError),
}

impl Error {
    /// Whether the write that failed has certainly not happened. Only [`Error::Unknown`] leaves it open.
    pub fn certainly_not_written(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }

    /// Whether reading again and deciding anew may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}
