//! The key that signs work, as this device knows it. The first session after enrolment pins it; from then on only the pinned key
//! itself hands over to another. So whoever has the server's identity key alone cannot give this device work.

use std::path::Path;

use fleet_core::{
    kernel::PublicKey,
    protocol::{Welcome, follows},
};
use serde::{Deserialize, Serialize};

use super::LinkError;
use crate::identity::{Identity, read_bounded, write_private};

const FILE: &str = "dispatch.json";
const NEW_FILE: &str = "dispatch.json.new";
const MAX_BYTES: u64 = 4 * 1024;

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    /// The key of the device that pinned it: one that is enrolled anew has another, and pins anew.
    device_key: PublicKey,
    dispatch_key: PublicKey,
}

/// Whether work may be taken in the session of a welcome that was verified; remembers its key.
///
/// # Errors
/// [`LinkError::Untrusted`] when the key is another than before, and no handover leads to it.
pub(super) fn check(state: &Path, identity: &Identity, welcome: &Welcome) -> Result<(), LinkError> {
    let (claimed, device_key) = (welcome.body.dispatch_key, identity.key.public());
    match pinned(state, identity) {
        Some(pinned) if pinned == claimed => return Ok(()),
        Some(pinned) if !follows(pinned, claimed, &welcome.handovers) => {
            return Err(LinkError::Untrusted(
                "it signs work with a key that the former one did not hand over to; enrol this device again if the server \
                 was set back on purpose"
                    .into(),
            ));
        }
        _ => {}
    }
    let stored = Stored {
        v: 1,
        device_key,
        dispatch_key: claimed,
    };
    let written = serde_json::to_string(&stored)
        .map_err(std::io::Error::other)
        .and_then(|text| write_private(state, NEW_FILE, FILE, text.as_bytes()));
    if let Err(error) = written {
        // What is not remembered is pinned by the next session.
        tracing::error!(%error, "the dispatch key could not be kept");
    }
    Ok(())
}

/// The key that this device has pinned.
pub(super) fn pinned(state: &Path, identity: &Identity) -> Option<PublicKey> {
    let text = read_bounded(&state.join(FILE), MAX_BYTES).ok()?;
    let stored: Stored = serde_json::from_str(&text).ok()?;
    (stored.device_key == identity.key.public()).then_some(stored.dispatch_key)
}

#[cfg(test)]
mod tests {
    use fleet_core::{
        devices::DeviceId,
        kernel::{EntityId as _, SigningKey, Timestamp},
        protocol::{Handover, WelcomeBody},
    };

    use super::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn identity(device: u8) -> Identity {
        Identity {
            device: DeviceId::from_uuid(uuid::Uuid::nil()),
            name: "web".into(),
            address: "http://127.0.0.1".into(),
            own_tls: false,
            server: key(100).public(),
            key: key(device),
        }
    }

    fn welcome(dispatch: u8, handovers: &[u8]) -> Welcome {
        let body = WelcomeBody {
            nonce: "n".into(),
            device: DeviceId::from_uuid(uuid::Uuid::nil()),
            protocol: 1,
            server_version: "1".into(),
            epoch: 1,
            time: Timestamp::EPOCH,
            heartbeat_seconds: 30,
            poll_seconds: 30,
            dispatch_key: key(dispatch).public(),
        };
        let mut welcome = Welcome::sign(body, &key(100)).unwrap();
        let handover = |from: &u8| Handover::sign(&key(*from), key(from + 1).public(), Timestamp::EPOCH).unwrap();
        welcome.handovers = handovers.iter().map(handover).collect();
        welcome
    }

    #[test]
    fn the_first_key_is_pinned_and_only_hands_over_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let takes = |device, dispatch, handovers: &[u8]| {
            check(folder.path(), &identity(device), &welcome(dispatch, handovers)).is_ok()
        };
        assert!(takes(50, 1, &[]), "nothing was pinned");
        assert!(takes(50, 1, &[]));
        assert!(!takes(50, 2, &[]), "the identity key alone is not enough");
        assert!(!takes(50, 3, &[2]));
        assert!(takes(50, 3, &[1, 2]), "two handovers while it was away");
        assert!(!takes(50, 1, &[1, 2]), "it does not go back");
        assert!(takes(50, 3, &[]));
        assert!(takes(51, 7, &[]), "enrolled anew");
        std::fs::write(folder.path().join(FILE), "damaged").unwrap();
        assert!(takes(51, 8, &[]));
    }
}
