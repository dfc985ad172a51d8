//! What is stored of devices' own keys, and how it is shown.

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    access::{Actor, TokenHash},
    devices::DeviceId,
    kernel::Timestamp,
    work::{operations::actions::disk_encryption::DeviceKey, secrets::SecretText},
};

use super::rules::{DEFAULT_LIFE, command};

/// What is known of the keys of a device's own; absent until there was one, or a token for one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "device_disk_keys", version = 1)]
pub struct DeviceDiskKeys {
    /// The device.
    #[entity(id)]
    pub id: DeviceId,
    /// The key of each disk, in the order of their UUIDs; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskKey>,
    /// Tokens that wait, and those that were used as long as they would have waited; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<DiskPassphraseToken>,
}

/// The key of the device's own that a disk has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskKey {
    /// The UUID of the disk's LUKS header.
    pub disk: String,
    /// Which.
    pub key: DeviceKey,
    /// Since when, as the server heard it.
    pub since: Timestamp,
}

/// A token by which a passphrase is chosen once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiskPassphraseToken {
    /// The keyed hash of its text.
    pub hash: TokenHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
    /// When its time is over.
    pub expires_at: Timestamp,
    /// What it was used for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<TokenUse>,
}

/// What a token was used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUse {
    /// When.
    pub at: Timestamp,
    /// The disk.
    pub disk: String,
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"expires_in_seconds": 900})))]
#[serde(default, deny_unknown_fields)]
pub struct NewDiskPassphraseToken {
    /// How long it can be used, in seconds: 60 to 3,600; 900 when nothing is said.
    pub expires_in_seconds: u64,
}

impl Default for NewDiskPassphraseToken {
    fn default() -> Self {
        Self {
            expires_in_seconds: DEFAULT_LIFE,
        }
    }
}

/// A token that was made. It is shown this once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiskPassphraseTokenView {
    /// The device that it is for.
    pub device: DeviceId,
    /// The token: 256 random bits in hexadecimal.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub token: SecretText,
    /// What to type on the device.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub command: SecretText,
    /// When its time is over.
    pub expires_at: Timestamp,
}

impl DiskPassphraseTokenView {
    pub(super) fn new(device: DeviceId, token: &str, expires_at: Timestamp) -> Self {
        Self {
            device,
            token: token.to_owned().into(),
            command: command(token).into(),
            expires_at,
        }
    }
}

/// The keys of a device's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceDiskKeysView {
    /// The device.
    pub device: DeviceId,
    /// Its disks, as far as it has told, by their UUID; at most 64.
    pub disks: Vec<DiskKeyView>,
}

/// The key of the device's own that a disk has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiskKeyView {
    /// The UUID of the disk's LUKS header.
    pub disk: String,
    /// Which key.
    pub key: DeviceKey,
    /// Since when, as the server heard it; of a passphrase, when the newest one was chosen.
    pub since: Timestamp,
}
