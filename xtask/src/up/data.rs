//! The folder in which `up` keeps everything.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// How to sign in, and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Credentials {
    pub address: String,
    pub name: String,
    pub password: String,
}

/// The folder, held by this process alone.
#[derive(Debug)]
pub struct Data {
    path: PathBuf,
    // Held until the process ends, however it ends.
    _lock: File,
}

impl Data {
    /// Makes the folder (0700) if it is not there, and locks it.
    pub fn open(path: &Path) -> Result<Self> {
        let text = path.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("making {text}"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).with_context(|| format!("closing {text}"))?;
        let lock = secret_file(&path.join("up.lock"), false)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_path_buf(),
                _lock: lock,
            }),
            Err(fs::TryLockError::WouldBlock) => bail!("another `cargo xtask up` is using {text}"),
            Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {text}")),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the command line keeps its session.
    pub fn cli_credentials(&self) -> PathBuf {
        self.path.join("cli.toml")
    }

    /// Whether there is something to sign in with.
    pub fn has_credentials(&self) -> bool {
        self.file().exists()
    }

    /// The address of the last time: the agent's pin leads there.
    pub fn last_address(&self) -> Result<Option<String>> {
        Ok(self.read()?.map(|credentials| credentials.address))
    }

    /// What to sign in with at `address`: what is kept, or something new.
    pub fn credentials(&self, address: &str) -> Result<Credentials> {
        Ok(match self.read()? {
            Some(kept) => Credentials {
                address: address.into(),
                ..kept
            },
            None => Credentials {
                address: address.into(),
                name: "admin".into(),
                password: new_password()?,
            },
        })
    }

    /// Writes the credentials down, readable by the owner alone.
    pub fn keep(&self, credentials: &Credentials) -> Result<()> {
        let text = toml::to_string(credentials).context("credentials")?;
        // Renamed into place: a crash leaves the old file or the new one.
        let new = self.path.join("credentials.new");
        let mut file = secret_file(&new, true)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&new, self.file()))
            .with_context(|| format!("writing {}", self.file().display()))
    }

    /// Opens a log for appending.
    pub fn log(&self, name: &str) -> Result<File> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.path.join(name))
            .with_context(|| format!("opening {name} in {}", self.path.display()))
    }

    /// The last lines of a log.
    pub fn tail(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path.join(name)).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn file(&self) -> PathBuf {
        self.path.join("credentials")
    }

    fn read(&self) -> Result<Option<Credentials>> {
        match fs::read_to_string(self.file()) {
            Ok(text) => toml::from_str(&text)
                .map(Some)
                .with_context(|| format!("{} is damaged", self.file().display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", self.file().display())),
        }
    }
}

fn secret_file(path: &Path, truncate: bool) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(truncate)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}

/// 120 bits, in characters that are not mistaken for each other.
fn new_password() -> Result<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 24];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("/dev/urandom")?;
    let characters: Vec<u8> = bytes.iter().map(|byte| ALPHABET[usize::from(byte % 32)]).collect();
    Ok(characters
        .chunks(6)
        .map(|chunk| String::from_utf8_lossy(chunk).into_owned())
        .collect::<Vec<_>>()
        .join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_time_finds_the_credentials_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let first = Data::open(&path).unwrap();
        let made = first.credentials("http://127.0.0.1:1").unwrap();
        first.keep(&made).unwrap();
        drop(first);
        let found = Data::open(&path).unwrap().credentials("http://127.0.0.1:2").unwrap();
        assert_eq!((found.password, found.name), (made.password, made.name));
        assert_eq!(found.address, "http://127.0.0.1:2");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("credentials"))), (0o700, 0o600));
    }

    #[test]
    fn a_folder_has_one_user_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Data::open(folder.path()).unwrap();
        let error = Data::open(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("another `cargo xtask up` is using"), "{error}");
    }

    #[test]
    fn damaged_credentials_are_said_and_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let data = Data::open(folder.path()).unwrap();
        fs::write(folder.path().join("credentials"), "password = ").unwrap();
        let error = data.credentials("http://127.0.0.1:1").unwrap_err().to_string();
        assert!(error.ends_with("credentials is damaged"), "{error}");
    }

    #[test]
    fn passwords_are_long_and_differ() {
        let (one, other) = (new_password().unwrap(), new_password().unwrap());
        assert_eq!(one.len(), 27);
        assert_ne!(one, other);
    }
}
