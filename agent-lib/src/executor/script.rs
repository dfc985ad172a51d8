//! Files of a run: the script that an interpreter reads, and what the run has fetched.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::users::User;

const PREFIX: &str = "run-";
const SUFFIX: &str = ".script";
/// What a crash may leave behind.
const SUFFIXES: [&str; 3] = [SUFFIX, ".deb", ".rpm"];

/// A file of a run on disk, such as its script: readable by the one who runs it and removed with this value.
#[derive(Debug)]
pub(crate) struct RunFile {
    path: PathBuf,
}

impl RunFile {
    /// Writes the script of a run. `owner` is the other user that it runs as.
    pub(super) fn write(directory: &Path, run: Uuid, text: &str, owner: Option<&User>) -> io::Result<Self> {
        prepare(directory, owner.is_some())?;
        let path = directory.join(format!("{PREFIX}{run}{SUFFIX}"));
        // One of a run that a crash interrupted and that runs again.
        let _ = std::fs::remove_file(&path);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o700)
            .open(&path)?;
        // From here on it is removed, whatever fails.
        let script = Self { path };
        // The umask may have taken something away.
        file.set_permissions(Permissions::from_mode(0o700))?;
        if let Some(user) = owner {
            fchown(&file, Some(user.uid), Some(user.gid))?;
        }
        file.write_all(text.as_bytes())?;
        Ok(script)
    }

    /// An empty file for what a run fetches, with one of [`SUFFIXES`]; nobody else can read it.
    pub(super) fn empty(directory: &Path, run: Uuid, suffix: &str) -> io::Result<(Self, File)> {
        prepare(directory, false)?;
        let path = directory.join(format!("{PREFIX}{run}{suffix}"));
        let _ = std::fs::remove_file(&path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok((Self { path }, file))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes the folder: closed to others, or passable (not listable) where other users read their scripts.
fn prepare(directory: &Path, passable: bool) -> io::Result<()> {
    let mode = if passable { 0o711 } else { 0o700 };
    DirBuilder::new().recursive(true).mode(mode).create(directory)?;
    let found = directory.symlink_metadata()?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("the folder for scripts is not the agent's own"));
    }
    if found.mode() & 0o777 != mode {
        std::fs::set_permissions(directory, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Removes what a crash left behind.
pub(super) fn remove_leftovers(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX) && SUFFIXES.iter().any(|suffix| name.ends_with(suffix)))
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
