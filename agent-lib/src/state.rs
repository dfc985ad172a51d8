//! The agent's state directory: one owner, mode 0700, held by a lock for as long as the agent lives.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use fleet_core::kernel::{Class, Code, Result};

/// Another agent holds this state directory.
pub const STATE_LOCKED: Code = Code::new("agent_state.locked", Class::Conflict);
/// The state directory cannot be made or used as it is.
pub const STATE_UNUSABLE: Code = Code::new("agent_state.unusable", Class::Unavailable);

/// A state directory that this process, and no other, works in. Dropping it gives it free.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    // The lock lives as long as the open file, and ends with the process however that dies.
    _lock: File,
}

impl StateDirectory {
    /// Makes the directory if it is not there (mode 0700), narrows it if others could look in, and locks it.
    ///
    /// # Errors
    /// [`STATE_LOCKED`] when another agent works in it; [`STATE_UNUSABLE`] when it cannot be made, belongs to somebody
    /// else or is no directory.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let unusable = |what: &str, error: io::Error| {
            STATE_UNUSABLE
                .error(format!("the state directory {} {what}: {error}", path.display()))
                .caused_by(error)
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| unusable("cannot be made", error))?;
        let found = path.metadata().map_err(|error| unusable("cannot be read", error))?;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(STATE_UNUSABLE.error(format!(
                "the state directory {} belongs to user {}, not to the agent's user",
                path.display(),
                found.uid()
            )));
        }
        if found.mode() & 0o777 != 0o700 {
            std::fs::set_permissions(&path, Permissions::from_mode(0o700))
                .map_err(|error| unusable("cannot be closed to others", error))?;
        }
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(|error| unusable("cannot be written", error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(STATE_LOCKED.error(format!("another agent is using the state directory {}", path.display())))
            }
            Err(TryLockError::Error(error)) => Err(unusable("cannot be locked", error)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_has_one_owner_at_a_time() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a/state");
        let first = StateDirectory::open(&path).unwrap();
        assert_eq!(StateDirectory::open(&path).unwrap_err().code(), STATE_LOCKED);
        drop(first);
        StateDirectory::open(&path).unwrap();
    }

    #[test]
    fn nobody_else_can_look_into_it() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("state");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let state = StateDirectory::open(&path).unwrap();
        assert_eq!(state.path().metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(path.join("lock").metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_in_its_place_is_a_coded_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(StateDirectory::open(file.path()).unwrap_err().code(), STATE_UNUSABLE);
    }
}
