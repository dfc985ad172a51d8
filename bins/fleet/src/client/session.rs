//! Where the server is and who we are: kept from one call to the next, or taken from the environment.

use std::{
    env,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Exit, Failure, Result};

/// What `fleet login` keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The address of the server.
    pub url: String,
    /// Who signed in.
    pub name: String,
    /// What proves it. It is sent to `url` and nowhere else.
    pub token: String,
}

impl Session {
    /// The session that is kept in a file, if there is one.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        match fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text)
                .map(Some)
                .map_err(|_| failure(path, "is damaged; delete it and sign in again")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure(path, &format!("cannot be read: {error}"))),
        }
    }

    /// Keeps the session, readable by its owner alone.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self).map_err(|error| failure(path, &error.to_string()))?;
        let write = || {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            // Renamed into place, so that a crash leaves the old session or the new one.
            let new = path.with_extension(format!("new-{}", std::process::id()));
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            let written = file
                .write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .and_then(|()| fs::rename(&new, path));
            if written.is_err() {
                let _ = fs::remove_file(&new);
            }
            written
        };
        write().map_err(|error: io::Error| failure(path, &format!("cannot be written: {error}")))
    }

    /// Forgets the session.
    pub fn forget(path: &Path) -> Result<()> {
        match fs::remove_file(path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failure(path, &format!("cannot be removed: {error}"))),
        }
    }
}

/// Where the session is kept when nobody says: `$XDG_CONFIG_HOME/fleet/credentials.toml`.
pub fn default_path() -> Result<PathBuf> {
    let folder = env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".config")))
        .ok_or_else(|| Failure::usage("there is no home folder; say where to keep the session with --credentials"))?;
    Ok(folder.join("fleet").join("credentials.toml"))
}

fn failure(path: &Path, what: &str) -> Failure {
    Failure::new(Exit::Failed, "session.unusable", format!("{} {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn session() -> Session {
        Session {
            url: "http://127.0.0.1:8080".into(),
            name: "admin".into(),
            token: "fls1_x".into(),
        }
    }

    #[test]
    fn a_session_is_kept_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet/credentials.toml");
        assert_eq!(Session::load(&path).unwrap(), None);
        session().save(&path).unwrap();
        session().save(&path).unwrap();
        assert_eq!(Session::load(&path).unwrap(), Some(session()));
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(path.parent().unwrap().read_dir().unwrap().count(), 1);
        Session::forget(&path).unwrap();
        Session::forget(&path).unwrap();
        assert_eq!(Session::load(&path).unwrap(), None);
    }

    #[test]
    fn a_damaged_session_is_said() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "token = ").unwrap();
        assert_eq!(Session::load(file.path()).unwrap_err().code(), "session.unusable");
    }
}
