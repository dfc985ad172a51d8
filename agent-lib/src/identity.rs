//! Who this device is, and which server it obeys: one file, made by enrolment, readable to its owner only.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fleet_core::{
    devices::DeviceId,
    kernel::{Class, Code, Error, PublicKey, Result, SigningKey},
};
use serde::{Deserialize, Serialize};

/// The device is not enrolled.
pub const NOT_ENROLLED: Code = Code::new("agent.not_enrolled", Class::NotFound);
/// The identity file cannot be used.
pub const IDENTITY_UNREADABLE: Code = Code::new("agent.identity_unreadable", Class::Unavailable);

const FILE: &str = "identity.json";
const NEW_FILE: &str = "identity.json.new";
/// More than an identity ever needs.
const MAX_BYTES: u64 = 16 * 1024;

/// Who this device is. The key was made here and never leaves.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The device.
    pub device: DeviceId,
    /// Its name when it was enrolled.
    pub name: String,
    /// Where the server is: scheme, host and port.
    pub address: String,
    /// Whether the server ends TLS there itself, with certificates of the fleet's own authority.
    pub own_tls: bool,
    /// The server's identity key, pinned by the enrolment token.
    pub server: PublicKey,
    /// The device's own key.
    pub key: SigningKey,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    device: DeviceId,
    name: String,
    address: String,
    #[serde(default)]
    own_tls: bool,
    server: PublicKey,
    key: String,
}

impl Identity {
    /// Reads the identity of a state directory.
    ///
    /// # Errors
    /// [`NOT_ENROLLED`] when there is none; [`IDENTITY_UNREADABLE`] when the file is not one.
    pub fn load(state: &Path) -> Result<Self> {
        let path = state.join(FILE);
        let damaged = |cause: String| {
            IDENTITY_UNREADABLE
                .error(format!("{} cannot be used; enrol this device again", path.display()))
                .caused_by(cause)
        };
        let text = match read_bounded(&path, MAX_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(NOT_ENROLLED.error("this device is not enrolled; run `fleet-agent enrol` with a token"));
            }
            Err(error) => return Err(damaged(error.to_string())),
        };
        let stored: Stored = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let mut key = zeroize::Zeroizing::new([0; 32]);
        match URL_SAFE_NO_PAD.decode_slice(&stored.key, &mut *key) {
            Ok(32) => {}
            _ => return Err(damaged("the key is not one".into())),
        }
        Ok(Self {
            device: stored.device,
            name: stored.name,
            address: stored.address,
            own_tls: stored.own_tls,
            server: stored.server,
            key: SigningKey::from_bytes(&key),
        })
    }

    /// Writes the identity: whole or not at all, synced before this returns.
    ///
    /// # Errors
    /// [`IDENTITY_UNREADABLE`] when the disk does not take it.
    pub fn save(&self, state: &Path) -> Result<()> {
        let stored = Stored {
            v: 1,
            device: self.device,
            name: self.name.clone(),
            address: self.address.clone(),
            own_tls: self.own_tls,
            server: self.server,
            key: URL_SAFE_NO_PAD.encode(*self.key.to_bytes()),
        };
        let text = zeroize::Zeroizing::new(serde_json::to_string(&stored).map_err(Error::internal)?);
        write_private(state, NEW_FILE, FILE, text.as_bytes()).map_err(|error| {
            IDENTITY_UNREADABLE.error(format!("{} cannot be written: {error}", state.join(FILE).display()))
        })
    }

    /// Removes the identity of a state directory; harmless when there is none.
    ///
    /// # Errors
    /// [`IDENTITY_UNREADABLE`] when the disk does not let it go.
    pub fn remove(state: &Path) -> Result<()> {
        remove(&state.join(FILE))
    }
}

/// Removes a file; harmless when there is none.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(IDENTITY_UNREADABLE.error(format!("{} cannot be removed: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Reads at most so much of a file.
pub(crate) fn read_bounded(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a file of mode 0600 by way of another name, so that nobody ever reads half of it.
pub(crate) fn write_private(directory: &Path, new_name: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = directory.join(new_name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, directory.join(name))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use fleet_core::kernel::{SeededRandom, Timestamp};

    use super::*;

    #[test]
    fn an_identity_is_read_back_and_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Identity::load(directory.path()).unwrap_err().code(), NOT_ENROLLED);
        let random = SeededRandom::new(1);
        let key = SigningKey::generate(&random);
        let identity = Identity {
            device: DeviceId::new(Timestamp::EPOCH, &random),
            name: "web-1".into(),
            address: "http://127.0.0.1:8080".into(),
            own_tls: true,
            server: SigningKey::generate(&random).public(),
            key: key.clone(),
        };
        identity.save(directory.path()).unwrap();
        let read = Identity::load(directory.path()).unwrap();
        assert_eq!(
            (read.device, read.own_tls, read.server, read.key.public()),
            (identity.device, true, identity.server, key.public())
        );
        assert_eq!(
            directory.path().join(FILE).metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(!format!("{read:?}").contains(&URL_SAFE_NO_PAD.encode(*key.to_bytes())));
        Identity::remove(directory.path()).unwrap();
        Identity::remove(directory.path()).unwrap();
    }

    #[test]
    fn a_damaged_identity_is_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "{}", "\u{0}\u{0}", "{\"v\":1,\"key\":\"short\"}"] {
            std::fs::write(directory.path().join(FILE), text).unwrap();
            let error = Identity::load(directory.path()).unwrap_err();
            assert_eq!(error.code(), IDENTITY_UNREADABLE);
            assert!(error.message().contains("enrol this device again"), "{error}");
        }
    }
}
