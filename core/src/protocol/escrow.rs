//! Secrets that a device makes, kept by the server before the device changes anything. The answers are signed by the identity key: who
//! merely carries them cannot say that a secret is kept.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    devices::DeviceId,
    escrow::{Conclusion, EscrowKind, EscrowReason, EscrowState, EscrowedSecretId},
    kernel::{PublicKey, Signature, SigningKey, Timestamp, canonical},
    work::{RunId, secrets::SecretText},
};

const RECEIPT_TAG: &str = "fleet escrow receipt v1";
const HELD_TAG: &str = "fleet escrow held v1";

/// Asks the server to keep a secret, and to say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({
    "nonce": "AAECAwQFBgcICQoLDA0ODw", "id": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41", "kind": "local_password", "subject": "ana",
    "source": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a42", "reason": "scheduled", "secret": "kR7vTz2mQx9bLw4nHs6d"
})))]
pub struct EscrowDeposit {
    /// Random bytes of the agent in base64url, at most 64 characters.
    pub nonce: String,
    /// The secret's id, which the device makes: a repeat under the same id is one deposit.
    pub id: EscrowedSecretId,
    /// What the secret opens.
    pub kind: EscrowKind,
    /// Which of these, at most 255 characters: a user's name, or the UUID of a LUKS header.
    pub subject: String,
    /// The run that it was made in.
    pub source: RunId,
    /// Why it was made.
    pub reason: EscrowReason,
    /// The secret, at most 1,024 bytes.
    #[cfg_attr(feature = "openapi", schema(value_type = String, write_only))]
    pub secret: SecretText,
}

/// Says what became of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({
    "nonce": "AAECAwQFBgcICQoLDA0ODw", "id": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41", "conclusion": "in_use"
})))]
pub struct EscrowConclude {
    /// Random bytes of the agent in base64url, at most 64 characters.
    pub nonce: String,
    /// Which secret.
    pub id: EscrowedSecretId,
    /// What became of it.
    pub conclusion: Conclusion,
}

/// Asks for the secrets of a subject that are in use, or may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({
    "nonce": "AAECAwQFBgcICQoLDA0ODw", "kind": "disk_passphrase", "subject": "6f1f0b1e-4a55-4f0e-9a0e-5f1d3c2b1a00"
})))]
pub struct EscrowQuestion {
    /// Random bytes of the agent in base64url, at most 64 characters.
    pub nonce: String,
    /// What they open.
    pub kind: EscrowKind,
    /// Which of these.
    pub subject: String,
}

/// What the server says of a secret that it keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EscrowReceiptBody {
    /// The nonce of the request.
    pub nonce: String,
    /// BLAKE3 of the request as it came, in hexadecimal: what is kept is this very secret.
    pub request: String,
    /// Whose secret.
    pub device: DeviceId,
    /// Which.
    pub id: EscrowedSecretId,
    /// How it stands.
    pub state: EscrowState,
    /// The server's time.
    pub time: Timestamp,
}

/// A secret that is in use, or may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeldSecret {
    /// Its id.
    pub id: EscrowedSecretId,
    /// `current`, or `offered` where that is not known.
    pub state: EscrowState,
    /// When it was deposited.
    pub offered_at: Timestamp,
    /// The secret.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub secret: SecretText,
}

/// The secrets of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeldSecretsBody {
    /// The nonce of the request.
    pub nonce: String,
    /// BLAKE3 of the request as it came, in hexadecimal.
    pub request: String,
    /// Whose secrets.
    pub device: DeviceId,
    /// The newest first; empty where none is kept.
    pub secrets: Vec<HeldSecret>,
    /// The server's time.
    pub time: Timestamp,
}

/// A signed [`EscrowReceiptBody`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EscrowReceipt {
    /// What is said.
    pub body: EscrowReceiptBody,
    /// The identity key's signature over the canonical form of the body.
    pub signature: Signature,
}

/// A signed [`HeldSecretsBody`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeldSecrets {
    /// What is said.
    pub body: HeldSecretsBody,
    /// The identity key's signature over the canonical form of the body.
    pub signature: Signature,
}

/// What answers to requests about secrets have in common.
pub trait EscrowAnswer: DeserializeOwned {
    /// Whether it comes from the pinned server and answers this request (its bytes, and the nonce in them) of this device.
    fn answers(&self, identity: &PublicKey, device: DeviceId, nonce: &str, request: &[u8]) -> bool;
}

impl EscrowReceipt {
    /// Signs an answer. Fails when a text in it has no canonical form.
    pub fn sign(body: EscrowReceiptBody, identity: &SigningKey) -> Result<Self, canonical::CanonicalError> {
        let signature = identity.sign(RECEIPT_TAG, &canonical::to_vec(&body)?);
        Ok(Self { body, signature })
    }
}

impl EscrowAnswer for EscrowReceipt {
    fn answers(&self, identity: &PublicKey, device: DeviceId, nonce: &str, request: &[u8]) -> bool {
        canonical::to_vec(&self.body).is_ok_and(|message| {
            self.body.nonce == nonce
                && self.body.device == device
                && self.body.request == super::body_digest(request)
                && identity.verifies(RECEIPT_TAG, &message, &self.signature)
        })
    }
}

impl HeldSecrets {
    /// Signs an answer. Fails when a text in it has no canonical form.
    pub fn sign(body: HeldSecretsBody, identity: &SigningKey) -> Result<Self, canonical::CanonicalError> {
        let signature = identity.sign(HELD_TAG, &canonical::to_vec(&body)?);
        Ok(Self { body, signature })
    }
}

impl EscrowAnswer for HeldSecrets {
    fn answers(&self, identity: &PublicKey, device: DeviceId, nonce: &str, request: &[u8]) -> bool {
        canonical::to_vec(&self.body).is_ok_and(|message| {
            self.body.nonce == nonce
                && self.body.device == device
                && self.body.request == super::body_digest(request)
                && identity.verifies(HELD_TAG, &message, &self.signature)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{EntityId as _, SeededRandom};
    use uuid::Uuid;

    #[test]
    fn a_receipt_is_believed_from_the_pinned_server_for_this_very_request_only() {
        let random = SeededRandom::new(1);
        let (server, other) = (SigningKey::generate(&random), SigningKey::generate(&random));
        let device = DeviceId::from_uuid(Uuid::from_u128(1));
        let body = EscrowReceiptBody {
            nonce: "nonce".into(),
            request: crate::protocol::body_digest(b"request"),
            device,
            id: EscrowedSecretId::from_uuid(Uuid::from_u128(2)),
            state: EscrowState::Offered,
            time: Timestamp::EPOCH,
        };
        let receipt = EscrowReceipt::sign(body.clone(), &server).unwrap();
        let check = |receipt: &EscrowReceipt, key: &SigningKey, device, nonce: &str, request: &[u8], expected| {
            assert_eq!(receipt.answers(&key.public(), device, nonce, request), expected);
        };
        check(&receipt, &server, device, "nonce", b"request", true);
        check(&receipt, &other, device, "nonce", b"request", false);
        check(
            &receipt,
            &server,
            DeviceId::from_uuid(Uuid::nil()),
            "nonce",
            b"request",
            false,
        );
        check(&receipt, &server, device, "other", b"request", false);
        check(&receipt, &server, device, "nonce", b"another secret", false);
        let altered = EscrowReceipt {
            body: EscrowReceiptBody {
                state: EscrowState::Current,
                ..body
            },
            ..receipt
        };
        check(&altered, &server, device, "nonce", b"request", false);
    }

    #[test]
    fn secrets_are_not_printed() {
        let held = HeldSecret {
            id: EscrowedSecretId::from_uuid(Uuid::nil()),
            state: EscrowState::Current,
            offered_at: Timestamp::EPOCH,
            secret: "hunter2".to_owned().into(),
        };
        assert!(!format!("{held:?}").contains("hunter2"));
    }
}
