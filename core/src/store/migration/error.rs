//! Why a move cannot be made, or was not made to its end.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{Difference, Side};
use crate::{
    kernel::{Class, Code, Error},
    store::{self, Finding},
};

/// The move cannot be made as asked; the message lists every problem and what to do about it.
pub const REFUSED: Code = Code::new("migration.refused", Class::Conflict);
/// One of the two stores failed; the same call again goes on with the move.
pub const STORE_FAILED: Code = Code::new("migration.store_failed", Class::Unavailable);
/// The target does not hold what the source holds; it does not serve.
pub const DIFFERENT: Code = Code::new("migration.different", Class::Internal);
/// The target holds what the source holds, and its own check finds damage; it does not serve.
pub const DAMAGED: Code = Code::new("migration.damaged", Class::Internal);
/// Writes come faster than they can be copied.
pub const NOT_CATCHING_UP: Code = Code::new("migration.not_catching_up", Class::Unavailable);
/// The last writes could not be carried within the pause that is allowed; the source serves on.
pub const PAUSE_TOO_LONG: Code = Code::new("migration.pause_too_long", Class::Unavailable);
/// The notes of what was written were lost or ended while the move was under way; the source serves on.
pub const NOTES_LOST: Code = Code::new("migration.notes_lost", Class::Unavailable);
/// The target was told to serve and it is not known whether it does; the source stays frozen.
pub const OUTCOME_UNKNOWN: Code = Code::new("migration.outcome_unknown", Class::Unavailable);

/// Source and target are one store.
pub const SAME_STORE: Code = Code::new("migration.same_store", Class::Invalid);
/// The source is not the store that the server uses.
pub const SOURCE_NOT_IN_USE: Code = Code::new("migration.source_not_in_use", Class::Conflict);
/// A store cannot be read.
pub const UNREACHABLE: Code = Code::new("migration.unreachable", Class::Unavailable);
/// A store was written by another version of the program.
pub const OTHER_VERSION: Code = Code::new("migration.other_version", Class::Conflict);
/// The data of the source was moved to another store before.
pub const SOURCE_FROZEN: Code = Code::new("migration.source_frozen", Class::Conflict);
/// The source is itself being filled by a move that is not complete.
pub const SOURCE_FILLING: Code = Code::new("migration.source_filling", Class::Conflict);
/// The target is being filled from another store.
pub const TARGET_FILLING: Code = Code::new("migration.target_filling", Class::Conflict);
/// The target holds data.
pub const TARGET_NOT_EMPTY: Code = Code::new("migration.target_not_empty", Class::Conflict);
/// The target is the store that the source's data came from: that is a way back.
pub const TARGET_IS_POINT_OF_RETURN: Code = Code::new("migration.target_is_point_of_return", Class::Conflict);
/// The target is not the store that the source's data came from.
pub const TARGET_IS_NO_POINT_OF_RETURN: Code = Code::new("migration.target_is_no_point_of_return", Class::Conflict);
/// The target serves the data already: it is too late to give the move up.
pub const ALREADY_DONE: Code = Code::new("migration.already_done", Class::Conflict);

/// Something that stands in the way of a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind of problem it is.
    #[serde(serialize_with = "code_name")]
    pub code: Code,
    /// The store that has it.
    pub side: Side,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

fn code_name<S: Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.name())
}

impl Problem {
    pub(super) fn new(code: Code, side: Side, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            code,
            side,
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

/// Why a move was not made to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// It cannot be made as asked. Nothing was changed.
    #[error("{}", list(.0))]
    Refused(Vec<Problem>),
    /// A store failed. The same call again goes on.
    #[error("the {side} failed: {error}")]
    Store {
        /// Which.
        side: Side,
        /// How.
        #[source]
        error: store::Error,
    },
    /// The target is not as the source. It does not serve.
    #[error("{0}")]
    Different(Box<Difference>),
    /// The target holds all, and is damaged. It does not serve.
    #[error("the target is damaged at {0}")]
    Damaged(Finding),
    /// Writes come faster than they are copied.
    #[error(
        "after {passes} passes the target is still {left} records behind: writes come faster than they can be copied"
    )]
    NotCatchingUp {
        /// How often it was tried.
        passes: u32,
        /// What was left.
        left: u64,
    },
    /// The pause grew too long each time. The source serves on.
    #[error("the last writes could not be carried within {limit_ms} ms in {attempts} attempts; the source serves on")]
    PauseTooLong {
        /// How often it was tried.
        attempts: u32,
        /// The limit.
        limit_ms: u64,
    },
    /// The source lost its notes of what was written. It serves on.
    #[error("the source's notes of what was written are incomplete: {0}")]
    NotesLost(String),
    /// It is not known whether the target serves.
    #[error("the target was told to serve and did not answer, so the source stays frozen: {0}")]
    OutcomeUnknown(#[source] store::Error),
}

fn list(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    texts.join(". ")
}

impl MigrationError {
    pub(super) fn of(side: Side) -> impl Fn(store::Error) -> Self {
        move |error| Self::Store { side, error }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(problems) => problems.first().map_or(REFUSED, |problem| problem.code),
            Self::Store { .. } => STORE_FAILED,
            Self::Different(_) => DIFFERENT,
            Self::Damaged(_) => DAMAGED,
            Self::NotCatchingUp { .. } => NOT_CATCHING_UP,
            Self::PauseTooLong { .. } => PAUSE_TOO_LONG,
            Self::NotesLost(_) => NOTES_LOST,
            Self::OutcomeUnknown(_) => OUTCOME_UNKNOWN,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Refused(_) => "see each problem",
            Self::Store { .. } => {
                "put the store right and run the same command again: it goes on where it stopped; or abandon the move"
            }
            Self::Different(_) | Self::Damaged(_) => {
                "the target was not made to serve; run the same command again, or abandon the move: the source is complete"
            }
            Self::NotCatchingUp { .. } | Self::PauseTooLong { .. } => {
                "try again at a quieter time, allow a longer pause, or stop the server and move offline"
            }
            Self::NotesLost(_) => "run the same command again",
            Self::OutcomeUnknown(_) => {
                "when the target can be reached again, run the same command again: it finds out and finishes"
            }
        }
    }
}

impl From<MigrationError> for Error {
    fn from(error: MigrationError) -> Self {
        let message = match &error {
            // Whoever moves a store is its operator; what an engine says of itself is for the log all the same.
            MigrationError::Store { side, .. } => format!("the {side} failed; {}", error.remedy()),
            MigrationError::OutcomeUnknown(_) => {
                format!("it is not known whether the target serves; {}", error.remedy())
            }
            MigrationError::Refused(_) => error.to_string(),
            _ => format!("{error}; {}", error.remedy()),
        };
        error.code().error(message).caused_by(error)
    }
}
