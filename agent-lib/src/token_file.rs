//! The file that an enrolment token is left in for the agent: by a person, an image, or whatever sets machines up.

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use fleet_core::kernel::{Class, Code, Result};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// The token file cannot be read, or others can read it too.
pub const TOKEN_FILE_UNUSABLE: Code = Code::new("agent.token_file_unusable", Class::Invalid);

/// More than a token ever needs.
const MAX_BYTES: u64 = 4 * 1024;

/// A token that was read from a file which nobody else can read.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    token: Zeroizing<String>,
}

impl TokenFile {
    /// Reads a token. The file must be a regular one (no link), belong to this user or to root, and be closed to everybody else
    /// (mode 0600 or less): a token that others could read is one that others may have used.
    ///
    /// # Errors
    /// [`TOKEN_FILE_UNUSABLE`], which says what is wrong with the file.
    pub fn read(path: &Path) -> Result<Self> {
        let unusable = |why: String| TOKEN_FILE_UNUSABLE.error(format!("the token file {} {why}", path.display()));
        let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(no_link)
            .open(path)
            .map_err(|error| match error.raw_os_error() {
                Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
                    unusable("is a symbolic link; name the file itself".into())
                }
                _ => unusable(format!("cannot be read: {error}")),
            })?;
        let found = file
            .metadata()
            .map_err(|error| unusable(format!("cannot be read: {error}")))?;
        if !found.is_file() {
            return Err(unusable("is no regular file".into()));
        }
        let own = rustix::process::geteuid().as_raw();
        if found.uid() != own && found.uid() != 0 {
            return Err(unusable(format!(
                "belongs to user {}, who may have read it",
                found.uid()
            )));
        }
        if found.mode() & 0o077 != 0 {
            return Err(unusable(format!(
                "can be read or written by others (mode {:03o}); make a new token, and keep it in a file of mode 600",
                found.mode() & 0o777
            )));
        }
        let mut token = Zeroizing::new(String::new());
        file.by_ref()
            .take(MAX_BYTES)
            .read_to_string(&mut token)
            .map_err(|error| unusable(format!("cannot be read: {error}")))?;
        Ok(Self {
            path: path.to_owned(),
            token,
        })
    }

    /// The token.
    pub fn token(&self) -> &str {
        self.token.trim()
    }

    /// Removes the file, once the token has done its work. One that is gone is removed.
    ///
    /// # Errors
    /// [`TOKEN_FILE_UNUSABLE`] when it cannot be removed.
    pub fn remove(self) -> Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(TOKEN_FILE_UNUSABLE.error(format!(
                "the token file {} cannot be removed: {error}",
                self.path.display()
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    fn file(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, " fle1_x\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_file_that_only_its_owner_can_read_is_read_and_then_removed() {
        for mode in [0o600, 0o400] {
            let (_folder, path) = file(mode);
            let token = TokenFile::read(&path).unwrap();
            assert_eq!(token.token(), "fle1_x");
            token.remove().unwrap();
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_file_that_others_can_read_or_write_is_refused_and_stays() {
        for mode in [0o640, 0o604, 0o622, 0o610, 0o777] {
            let (_folder, path) = file(mode);
            let error = TokenFile::read(&path).unwrap_err();
            assert_eq!(error.code(), TOKEN_FILE_UNUSABLE);
            assert!(error.message().contains("others"), "{}", error.message());
            assert!(path.exists());
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let (folder, path) = file(0o600);
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        for other in [folder.path(), &link, &folder.path().join("none")] {
            assert_eq!(TokenFile::read(other).unwrap_err().code(), TOKEN_FILE_UNUSABLE);
        }
    }
}
