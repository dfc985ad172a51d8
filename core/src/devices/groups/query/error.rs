//! Why a text is no query.

use serde::{Deserialize, Serialize};

/// What kind of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryErrorKind {
    /// The text does not keep to the language.
    Invalid,
    /// It keeps to the language, as far as it was read, but goes beyond one of its bounds.
    TooLarge,
}

/// Why a text is no query, and where that shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {})", position + 1)]
pub struct QueryError {
    /// What kind of refusal it is.
    pub kind: QueryErrorKind,
    /// How many characters stand before the place.
    pub position: usize,
    /// What was expected there, or what is wrong with what stands there.
    pub message: String,
}
