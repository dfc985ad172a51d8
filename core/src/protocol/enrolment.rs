//! The server's answer to an enrolment, signed with its identity key.

use serde::{Deserialize, Serialize};

use crate::{
    devices::DeviceId,
    kernel::{PublicKey, Signature, SigningKey, Timestamp, canonical},
};

const TAG: &str = "fleet enrolled v1";

/// What the server says to a new device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolAnswerBody {
    /// The nonce of the agent's request, 32 bytes in base64url.
    pub nonce: String,
    /// The device that it is now.
    pub device: DeviceId,
    /// The device's name.
    pub name: String,
    /// Whether the device was there before: the request was repeated, or the machine came back.
    pub known: bool,
    /// The key that the agent asked for.
    pub public_key: PublicKey,
    /// The server's time.
    pub time: Timestamp,
}

/// A signed answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolAnswer {
    /// What is said.
    pub body: EnrolAnswerBody,
    /// The identity key's signature over the canonical form of the body.
    pub signature: Signature,
    /// Whether the device can do nothing before an operator has approved it. For people to read, so it is not signed: whatever it
    /// says, the server decides.
    #[serde(default)]
    pub pending: bool,
}

impl EnrolAnswer {
    /// Signs an answer. Fails when a text in it has no canonical form.
    pub fn sign(body: EnrolAnswerBody, identity: &SigningKey) -> Result<Self, canonical::CanonicalError> {
        let signature = identity.sign(TAG, &canonical::to_vec(&body)?);
        Ok(Self {
            body,
            signature,
            pending: false,
        })
    }

    /// Whether it comes from the pinned server, and answers this request of this key.
    #[must_use]
    pub fn verify(&self, identity: &PublicKey, nonce: &str, key: &PublicKey) -> bool {
        canonical::to_vec(&self.body).is_ok_and(|message| {
            self.body.nonce == nonce
                && self.body.public_key == *key
                && identity.verifies(TAG, &message, &self.signature)
        })
    }
}
