//! The few files that the server keeps beside its store.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use fleet_core::kernel::{MasterKey, SystemRandom};

/// Makes a folder that only its owner can look into.
pub(crate) fn private_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("the folder {} cannot be made", path.display()))
}

/// Reads the master key; makes it when neither it nor a store is there yet.
///
/// A store without its key is refused: a new key could not open what the old one sealed, and would hide the mistake.
pub(crate) fn master_key(path: &Path, store_exists: bool) -> anyhow::Result<MasterKey> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let mode = path.metadata()?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                bail!(
                    "the master key {} can be read by others (mode {mode:o}); run: chmod 600 {}",
                    path.display(),
                    path.display()
                );
            }
            MasterKey::from_text(&text).with_context(|| {
                format!(
                    "{} is damaged; bring the master key back from its backup",
                    path.display()
                )
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !store_exists => {
            if let Some(folder) = path.parent() {
                private_folder(folder)?;
            }
            let key = MasterKey::generate(&SystemRandom);
            write_private(path, format!("{}\n", *key.to_text()).as_bytes())
                .with_context(|| format!("the master key {} cannot be written", path.display()))?;
            tracing::info!(path = %path.display(), id = key.id(), "master key made; back it up apart from the data");
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "there is a store but no master key at {}; bring the key file that made this store back from its backup, or say --master-key-file",
            path.display()
        ),
        Err(error) => Err(error).with_context(|| format!("the master key {} cannot be read", path.display())),
    }
}

/// The file that holds the one-time token while there is no user.
pub(crate) fn bootstrap_token_file(data: &Path) -> PathBuf {
    data.join("bootstrap-token")
}

/// Writes a file of mode 0600 by way of another name.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a file could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/master.key");
        let made = master_key(&path, false).unwrap();
        assert_eq!(master_key(&path, true).unwrap().id(), made.id());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(master_key(&path, true).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_store_without_its_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        assert!(master_key(&path, true).unwrap_err().to_string().contains("backup"));
        assert!(!path.exists());
        std::fs::write(&path, "rubbish").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(master_key(&path, true).is_err());
    }
}
