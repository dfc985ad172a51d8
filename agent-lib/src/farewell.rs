//! What an agent remembers of a server that it has left: why it stopped, for whoever looks after the machine.

use std::path::Path;

use fleet_core::{
    devices::DeviceId,
    kernel::{Error, Result, Timestamp},
    protocol::Standing,
};
use serde::{Deserialize, Serialize};

use crate::{
    actions,
    credentials::Credentials,
    desired,
    identity::{IDENTITY_UNREADABLE, Identity, read_bounded, write_private},
};

const FILE: &str = "farewell.json";
const NEW_FILE: &str = "farewell.json.new";
/// More than it ever needs.
const MAX_BYTES: u64 = 16 * 1024;

/// How this device's time with a server came to its end. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Farewell {
    /// The device that it was.
    pub device: DeviceId,
    /// Its name when it was enrolled.
    pub name: String,
    /// The server's address.
    pub server: String,
    /// What the server said, signed.
    pub standing: Standing,
    /// When it said so.
    pub at: Timestamp,
}

impl Farewell {
    /// Forgets the server: writes down why, then removes identity and certificate. What is left of a crash in between is done when
    /// the agent asks again.
    ///
    /// # Errors
    /// [`IDENTITY_UNREADABLE`] when the disk does not take it.
    pub fn leave(state: &Path, identity: &Identity, standing: Standing, at: Timestamp) -> Result<Self> {
        let farewell = Self {
            device: identity.device,
            name: identity.name.clone(),
            server: identity.address.clone(),
            standing,
            at,
        };
        let text = serde_json::to_string(&farewell).map_err(Error::internal)?;
        write_private(state, NEW_FILE, FILE, text.as_bytes()).map_err(|error| {
            IDENTITY_UNREADABLE.error(format!("{} cannot be written: {error}", state.join(FILE).display()))
        })?;
        Credentials::remove(state)?;
        desired::forget(state)?;
        actions::forget(state)?;
        Identity::remove(state)?;
        Ok(farewell)
    }

    /// What is remembered; none where no server was left, or the device has joined one since.
    pub fn load(state: &Path) -> Option<Self> {
        serde_json::from_str(&read_bounded(&state.join(FILE), MAX_BYTES).ok()?).ok()
    }

    /// Forgets it: the device has joined a server again.
    pub(crate) fn forget(state: &Path) {
        let _ = std::fs::remove_file(state.join(FILE));
    }

    /// Why, in words.
    pub fn reason(&self) -> &'static str {
        match self.standing {
            Standing::Rejected => "an operator rejected it",
            Standing::Replaced => "another key has taken its place",
            _ => "an operator removed it",
        }
    }
}

#[cfg(test)]
mod tests {
    use fleet_core::kernel::{EntityId as _, SeededRandom, SigningKey};

    use super::*;

    #[test]
    fn whoever_leaves_forgets_its_key_and_remembers_why() {
        let state = tempfile::tempdir().unwrap();
        let random = SeededRandom::new(1);
        let identity = Identity {
            device: DeviceId::from_uuid(uuid::Uuid::from_u128(1)),
            name: "web".into(),
            address: "https://fleet.example.org".into(),
            own_tls: false,
            server: SigningKey::generate(&random).public(),
            key: SigningKey::generate(&random),
        };
        identity.save(state.path()).unwrap();
        Credentials::default().save(state.path()).unwrap();
        std::fs::create_dir(state.path().join("actions")).unwrap();
        assert_eq!(Farewell::load(state.path()), None);
        let left = Farewell::leave(state.path(), &identity, Standing::Rejected, Timestamp::EPOCH).unwrap();
        assert_eq!(Farewell::load(state.path()), Some(left.clone()));
        assert_eq!(left.reason(), "an operator rejected it");
        assert!(Identity::load(state.path()).is_err());
        assert!(!state.path().join("certificate.json").exists());
        assert!(!state.path().join("actions").exists());
        Farewell::forget(state.path());
        assert_eq!(Farewell::load(state.path()), None);
    }
}
