//! What goes wrong below the store, in the words of the contract.

use std::{io, path::Path};

use fleet_core::store::Error;

/// A call to the file system failed and nothing was written.
pub(crate) fn unavailable(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::Unavailable(format!("cannot {what} {}: {error}", path.display()).into())
}

/// A line that is not what was written there. Lines count from 1.
pub(crate) fn damaged_line(path: &Path, line: usize, problem: &str) -> Error {
    damaged(path, &format!("line {line}: {problem}"))
}

/// A file that is not what was written there.
pub(crate) fn damaged(path: &Path, problem: &str) -> Error {
    Error::Corrupt(format!(
        "{}: {problem}. Nothing was changed. Keep a copy of the folder, then restore the newest backup, or repair the store \
         (`fleet-server repair`), which sets damaged lines aside and goes on without them",
        path.display()
    ))
}

/// The same error once more, for the next of those who wait for one group.
pub(crate) fn again(error: &Error) -> Error {
    match error {
        Error::Corrupt(text) => Error::Corrupt(text.clone()),
        Error::Refused(text) => Error::Refused(text.clone()),
        Error::Invalid(text) => Error::Invalid(text.clone()),
        Error::Unknown(cause) => Error::Unknown(cause.to_string().into()),
        Error::NotServing(phase) => Error::NotServing(phase.clone()),
        Error::Unavailable(cause) => Error::Unavailable(cause.to_string().into()),
        other => Error::Unavailable(other.to_string().into()),
    }
}

/// The store was closed, or its writer has ended.
pub(crate) fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}

/// The writer went away with the question.
pub(crate) fn abandoned() -> Error {
    Error::Unknown("the writer ended before it answered".into())
}

/// Whether a write failed because there is no room for it.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
