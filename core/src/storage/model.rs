//! What is shown of the store.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::BackupView;
use crate::{
    kernel::Timestamp,
    store::{Finding, Move, Phase, Severity},
};

/// What may be under way with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ActivityKind {
    /// A backup.
    Backup,
    /// A check.
    Check,
    /// A move.
    Move,
}

impl fmt::Display for ActivityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backup => "backup",
            Self::Check => "check",
            Self::Move => "move",
        })
    }
}

/// What is under way with the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Activity {
    /// What it is.
    pub kind: ActivityKind,
    /// Since when.
    pub since: Timestamp,
    /// How many records it is through with, where it counts them.
    pub records: u64,
}

/// What a store is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PhaseName {
    /// It takes reads and writes.
    Serving,
    /// It is being filled by a move.
    Filling,
    /// Its data was moved, or is about to be: it is read-only.
    Frozen,
}

impl From<&Phase> for PhaseName {
    fn from(phase: &Phase) -> Self {
        match phase {
            Phase::Serving => Self::Serving,
            Phase::Filling(_) => Self::Filling,
            Phase::Frozen(_) => Self::Frozen,
        }
    }
}

/// A move, as a store remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MoveMark {
    /// The same in both stores.
    pub id: Uuid,
    /// The other store, without secrets.
    pub peer: String,
    /// When the move began.
    pub at: Timestamp,
}

impl From<Move> for MoveMark {
    fn from(mark: Move) -> Self {
        let Move { id, peer, at } = mark;
        Self { id, peer, at }
    }
}

/// How many documents there are of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StorageCount {
    /// The kind.
    pub kind: String,
    /// How many.
    pub documents: u64,
}

/// How much room a kind, a lane or a set of latest values takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StorageSize {
    /// Its name.
    pub name: String,
    /// Bytes on the disk, with indexes.
    pub bytes: u64,
}

/// Something that a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FindingView {
    /// How bad it is.
    pub severity: Severity,
    /// Where: a key, a lane, a file.
    pub subject: String,
    /// What is wrong.
    pub problem: String,
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        Self {
            severity: finding.severity,
            subject: finding.subject,
            problem: finding.problem,
        }
    }
}

/// How the last check by this server went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckResult {
    /// When it was over.
    pub at: Timestamp,
    /// Whether all is well. A loss that is known does not count against it.
    pub healthy: bool,
    /// How many findings there are; the first hundred follow.
    pub total: u64,
    /// What was found.
    pub findings: Vec<FindingView>,
    /// Why the check could not be made to its end.
    pub problem: Option<String>,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StorageView {
    /// The backend, such as `sqlite`.
    pub backend: String,
    /// Where the data is, without secrets.
    pub location: String,
    /// The version of its format.
    pub format: u32,
    /// Whether what it acknowledges survives a loss of power.
    pub durable: bool,
    /// Whether several servers may use it at once.
    pub shared: bool,
    /// What it is for.
    pub phase: PhaseName,
    /// The move that filled it last; none for a store that began by itself.
    pub origin: Option<MoveMark>,
    /// The newest commit.
    pub seq: u64,
    /// How many documents there are, by kind; kinds without any are left out.
    pub counts: Vec<StorageCount>,
    /// Bytes on the disk, with indexes, history and logs; none for a store that is on no disk.
    pub size: Option<u64>,
    /// Bytes by kind, lane and set of latest values, the greatest first, where the engine knows it without reading everything
    /// (JSON and Postgres do). History and logs belong to none of them.
    pub sizes: Vec<StorageSize>,
    /// What is under way.
    pub activity: Option<Activity>,
    /// How the last check by this server went.
    pub last_check: Option<CheckResult>,
    /// The newest backup that is complete.
    pub last_backup: Option<BackupView>,
}
