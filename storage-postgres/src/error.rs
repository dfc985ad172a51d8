//! What the engine's errors mean to the contract (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).

use fleet_core::store::Error;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Others were in the way: the same once more may succeed.
    Again,
    /// A value or a place was taken: read again and decide anew.
    Taken,
    /// A value cannot be stored; its batch is to blame, not its neighbours.
    Data,
    /// The connection is gone.
    Lost,
    /// Anything else.
    Other,
}

fn class_of(state: &str) -> Class {
    match state {
        // Serialisation failure, deadlock.
        "40001" | "40P01" => Class::Again,
        "23505" => Class::Taken,
        // A partition came to be while we wrote to the one for the rest.
        "23514" => Class::Again,
        _ => match state.get(..2) {
            Some("22" | "54") => Class::Data,
            Some("08" | "57") if state != "57014" => Class::Lost,
            _ => Class::Other,
        },
    }
}

pub(crate) fn class(error: &sqlx::Error) -> Class {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => Class::Lost,
        sqlx::Error::PoolClosed | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => Class::Lost,
        sqlx::Error::Encode(_) => Class::Data,
        error => match error.as_database_error().and_then(|error| error.code()) {
            Some(state) => class_of(&state),
            None => Class::Other,
        },
    }
}

/// Whether an error in answer to a COMMIT says that nothing was written.
pub(crate) fn is_certain(error: &sqlx::Error) -> bool {
    let Some(said) = error.as_database_error() else {
        return false;
    };
    let severity = said
        .try_downcast_ref::<PgDatabaseError>()
        .map(PgDatabaseError::severity);
    severity == Some(PgSeverity::Error) && class(error) != Class::Lost
}

/// An error from anything but a COMMIT: nothing was written.
pub(crate) fn from_engine(error: sqlx::Error) -> Error {
    let state = error.as_database_error().and_then(|error| error.code());
    match state {
        Some(state) => {
            let (state, text) = (state.into_owned(), told(&error));
            meaning(&state, text)
        }
        None if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => {
            Error::Corrupt(error.to_string())
        }
        None => Error::Unavailable(Box::new(error)),
    }
}

/// The message and, where there is one, the engine's own hint.
fn told(error: &sqlx::Error) -> String {
    let detail = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
        .and_then(|error| error.hint());
    match detail {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    }
}

fn meaning(state: &str, text: String) -> Error {
    match (state, state.get(..2).unwrap_or_default()) {
        (_, "XX") => Error::Corrupt(text),
        // Preconditions are decided before anything is stored, so a constraint that fails means a damaged index.
        (_, "23") => Error::Corrupt(format!("an index and the data disagree: {text}")),
        (_, "22" | "54") => Error::Invalid(format!("the database cannot hold a value: {text}")),
        ("25006", _) => Error::Refused(format!("the database takes no writes; is it a standby? {text}")),
        ("42501", _) => Error::Refused(format!("the database's user lacks a right: {text}")),
        (_, "28") => Error::Refused(format!("the database does not let us in: {text}")),
        ("3D000" | "3F000", _) => Error::Refused(text),
        ("42P01" | "42703" | "42704", _) => Error::Refused(format!(
            "the tables are not those of this version; another version prepared the store meanwhile. Restart this server: {text}"
        )),
        (_, "53") => Error::Unavailable(format!("the database is out of room: {text}").into()),
        ("55P03", _) => Error::Unavailable(format!("another server held the store for too long: {text}").into()),
        ("57014", _) => Error::Unavailable(format!("it took too long: {text}").into()),
        _ => Error::Unavailable(text.into()),
    }
}

/// The outcome of a COMMIT that was not answered.
pub(crate) fn unknown(cause: impl std::fmt::Display) -> Error {
    tracing::error!(%cause, "a commit was not answered; its outcome is unknown");
    Error::Unknown(cause.to_string().into())
}

/// The same error once more, for the next of those who wait for one group.
pub(crate) fn again(error: &Error) -> Error {
    match error {
        Error::Corrupt(text) => Error::Corrupt(text.clone()),
        Error::Refused(text) => Error::Refused(text.clone()),
        Error::Invalid(text) => Error::Invalid(text.clone()),
        Error::NotServing(phase) => Error::NotServing(phase.clone()),
        Error::Unknown(cause) => Error::Unknown(cause.to_string().into()),
        other => Error::Unavailable(other.to_string().into()),
    }
}

/// The store was closed, or its writer has stopped.
pub(crate) fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(state: &str, class: Class, means: &str) {
        assert_eq!(class_of(state), class, "{state}");
        let meaning = format!("{:?}", meaning(state, "text".into()));
        assert!(meaning.starts_with(means), "{state}: {meaning}");
    }

    #[test]
    fn a_full_disk_and_other_shortages_leave_nothing_written() {
        for state in ["53000", "53100", "53200", "53300", "53400"] {
            check(state, Class::Other, "Unavailable(\"the database is out of room");
        }
    }

    #[test]
    fn states_have_their_meaning() {
        check("40001", Class::Again, "Unavailable");
        check("40P01", Class::Again, "Unavailable");
        check("23505", Class::Taken, "Corrupt");
        check("22021", Class::Data, "Invalid");
        check("22P02", Class::Data, "Invalid");
        check("54000", Class::Data, "Invalid");
        check("08006", Class::Lost, "Unavailable");
        check("57P01", Class::Lost, "Unavailable");
        check("57014", Class::Other, "Unavailable(\"it took too long");
        check("55P03", Class::Other, "Unavailable(\"another server");
        check("XX001", Class::Other, "Corrupt");
        check("XX002", Class::Other, "Corrupt");
        check("25006", Class::Other, "Refused");
        check("28P01", Class::Other, "Refused");
        check("42P01", Class::Other, "Refused");
    }
}
