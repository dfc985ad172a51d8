//! Keys of the device's own, by which its disks open: tokens that let a passphrase be chosen, and what the device tells. The answers are
//! signed by the identity key; no passphrase travels.

use serde::{Deserialize, Serialize};

use super::EscrowAnswer;
use crate::{
    devices::DeviceId,
    kernel::{PublicKey, Signature, SigningKey, Timestamp, canonical},
    work::{operations::actions::disk_encryption::DeviceKey, secrets::SecretText},
};

const TAG: &str = "fleet disk key receipt v1";

/// Asks whether a token can be used, and leaves it as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({
    "nonce": "AAECAwQFBgcICQoLDA0ODw", "token": "5e7c1f0a9b3d4e2861f7c0a5b9d8e3f24a6b1c7d0e9f8a5b3c2d1e4f6a7b8c9d"
})))]
pub struct DiskPassphraseTokenCheck {
    /// Random bytes of the agent in base64url, at most 64 characters.
    pub nonce: String,
    /// The token.
    #[cfg_attr(feature = "openapi", schema(value_type = String, write_only))]
    pub token: SecretText,
}

/// Says that a passphrase was chosen by a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({
    "nonce": "AAECAwQFBgcICQoLDA0ODw", "token": "5e7c1f0a9b3d4e2861f7c0a5b9d8e3f24a6b1c7d0e9f8a5b3c2d1e4f6a7b8c9d",
    "disk": "6f1f0b1e-4a55-4f0e-9a0e-5f1d3c2b1a00"
})))]
pub struct DiskPassphraseTokenUse {
    /// Random bytes of the agent in base64url, at most 64 characters.
    pub nonce: String,
    /// The token.
    #[cfg_attr(feature = "openapi", schema(value_type = String, write_only))]
    pub token: SecretText,
    /// The disk: the UUID of its LUKS header.
    pub disk: String,
}

/// Says which key of the device's own a disk has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({
    "nonce": "AAECAwQFBgcICQoLDA0ODw", "disk": "6f1f0b1e-4a55-4f0e-9a0e-5f1d3c2b1a00", "key": "tpm2"
})))]
pub struct DiskKeyTold {
    /// Random bytes of the agent in base64url, at most 64 characters.
    pub nonce: String,
    /// The disk: the UUID of its LUKS header.
    pub disk: String,
    /// Which key.
    pub key: DeviceKey,
}

/// What the server says of such a request: it is so, or was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiskKeyReceiptBody {
    /// The nonce of the request.
    pub nonce: String,
    /// BLAKE3 of the request as it came, in hexadecimal.
    pub request: String,
    /// Whose request.
    pub device: DeviceId,
    /// The server's time.
    pub time: Timestamp,
}

/// A signed [`DiskKeyReceiptBody`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiskKeyReceipt {
    /// What is said.
    pub body: DiskKeyReceiptBody,
    /// The identity key's signature over the canonical form of the body.
    pub signature: Signature,
}

impl DiskKeyReceipt {
    /// Signs an answer. Fails when a text in it has no canonical form.
    pub fn sign(body: DiskKeyReceiptBody, identity: &SigningKey) -> Result<Self, canonical::CanonicalError> {
        let signature = identity.sign(TAG, &canonical::to_vec(&body)?);
        Ok(Self { body, signature })
    }
}

impl EscrowAnswer for DiskKeyReceipt {
    fn answers(&self, identity: &PublicKey, device: DeviceId, nonce: &str, request: &[u8]) -> bool {
        canonical::to_vec(&self.body).is_ok_and(|message| {
            self.body.nonce == nonce
                && self.body.device == device
                && self.body.request == super::body_digest(request)
                && identity.verifies(TAG, &message, &self.signature)
        })
    }
}
