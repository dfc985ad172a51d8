//! What an action remembers from one run to the next: a small file of its own in the agent's state folder, never a secret. It is that
//! of the key with which the device is enrolled: another server keeps nothing of what this one does.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use fleet_core::kernel::{PublicKey, Result as CoreResult};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Device;
use crate::{
    actions::{FILES_FAILED, action::Problem},
    identity::{IDENTITY_UNREADABLE, read_bounded, write_private},
};

/// The folder in the state folder.
const FOLDER: &str = "actions";
/// The most of a file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    device_key: PublicKey,
    body: T,
}

/// Removes what is remembered: this device has left its server, and stays as it is.
pub(super) fn forget(state: &Path) -> CoreResult<()> {
    match std::fs::remove_dir_all(state.join(FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(IDENTITY_UNREADABLE.error(format!("{} cannot be removed: {error}", state.join(FOLDER).display())))
        }
        _ => Ok(()),
    }
}

/// Keeps other processes off something while it lives, however this one ends.
#[derive(Debug)]
pub(in crate::actions) struct NoteLock {
    _file: File,
}

impl Device {
    /// What was remembered under a name; nothing when nothing was.
    ///
    /// # Errors
    /// When it cannot be read: whoever would begin anew does so knowingly.
    pub(in crate::actions) fn recall<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Problem> {
        let path = self.state.join(FOLDER).join(format!("{name}.json"));
        let failed = |error: &dyn std::fmt::Display| {
            Problem::new(FILES_FAILED, format!("{} cannot be read: {error}", path.display()))
        };
        match read_bounded(&path, MAX_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&error)),
            Ok(text) => {
                let stored: Stored<T> = serde_json::from_str(&text).map_err(|error| failed(&error))?;
                Ok((stored.device_key == self.device_key).then_some(stored.body))
            }
        }
    }

    /// Remembers something under a name, durably when this returns.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(in crate::actions) fn remember<T: Serialize>(&self, name: &str, what: &T) -> Result<(), Problem> {
        let folder = self.state.join(FOLDER);
        let write = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let stored = Stored {
                device_key: self.device_key,
                body: what,
            };
            let text = serde_json::to_vec(&stored).map_err(io::Error::other)?;
            write_private(&folder, &format!("{name}.new"), &format!("{name}.json"), &text)
        };
        self.effects.done("remember", name, write).map_err(|error| {
            let why = format!("{}/{name}.json cannot be written: {error}", folder.display());
            Problem::new(FILES_FAILED, why)
        })
    }

    /// Keeps other processes off what is remembered under a name, and off what that is about; nothing where one of them does so now.
    ///
    /// # Errors
    /// When there can be no such file.
    pub(in crate::actions) fn lock_note(&self, name: &str) -> Result<Option<NoteLock>, Problem> {
        let folder = self.state.join(FOLDER);
        let lock = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(folder.join(format!("{name}.lock")))?;
            match file.try_lock() {
                Ok(()) => Ok(Some(NoteLock { _file: file })),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error),
            }
        };
        self.effects.done("lock", name, lock).map_err(|error| {
            let why = format!("{}/{name}.lock cannot be used: {error}", folder.display());
            Problem::new(FILES_FAILED, why)
        })
    }
}
