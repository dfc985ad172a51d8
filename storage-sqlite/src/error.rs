//! What the engine's errors mean to the contract.

use fleet_core::store::Error;

/// Primary result codes of SQLite (<https://sqlite.org/rescode.html>).
mod code {
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const NOT_A_DATABASE: i32 = 26;
}

/// The primary result code of an error that the engine reported.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|code| code & 0xff)
}

/// An error from anything but a COMMIT: nothing was written.
pub(crate) fn from_engine(error: sqlx::Error) -> Error {
    match primary_code(&error) {
        Some(code::CORRUPT | code::NOT_A_DATABASE) => Error::Corrupt(error.to_string()),
        // Preconditions are decided before anything is stored, so a constraint that fails means a damaged index.
        Some(code::CONSTRAINT) => Error::Corrupt(format!("an index and the data disagree: {error}")),
        _ if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => {
            Error::Corrupt(error.to_string())
        }
        _ => Error::Unavailable(Box::new(error)),
    }
}

/// Whether an error says that the file is damaged.
pub(crate) fn is_damage(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(code::CORRUPT | code::NOT_A_DATABASE))
}

/// Whether an error is a constraint that failed.
pub(crate) fn is_constraint(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(code::CONSTRAINT)
}

/// The same error once more, for the next of those who wait for one group.
pub(crate) fn again(error: &Error) -> Error {
    match error {
        Error::Corrupt(text) => Error::Corrupt(text.clone()),
        Error::Refused(text) => Error::Refused(text.clone()),
        Error::NotServing(phase) => Error::NotServing(phase.clone()),
        Error::Unknown(cause) => Error::Unknown(cause.to_string().into()),
        other => Error::Unavailable(other.to_string().into()),
    }
}

/// The store was closed, or its writer has stopped.
pub(crate) fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}
