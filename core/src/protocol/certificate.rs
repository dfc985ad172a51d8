//! Certificates for devices, and the authorities that are trusted. Both are signed by the identity key over the agent's nonce,
//! so that an agent whose authorities are out of date learns the present ones from whoever carries the answer.

use serde::{Deserialize, Serialize};

use crate::{
    devices::DeviceId,
    kernel::{PublicKey, Signature, SigningKey, Timestamp, canonical},
};

const TRUST_TAG: &str = "fleet trust v1";
const CERTIFICATE_TAG: &str = "fleet certificate v1";

/// Asks which authorities are trusted, or for a certificate. In the latter case the request is signed with the device's key, and
/// the certificate is issued over that key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"nonce": "AAECAwQFBgcICQoLDA0ODw"})))]
pub struct CertificateRequest {
    /// Random bytes of the agent in base64url, at most 64 characters.
    pub nonce: String,
}

/// The authorities that are trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrustBody {
    /// The nonce of the request.
    pub nonce: String,
    /// Their certificates: DER in base64.
    pub authorities: Vec<String>,
    /// The server's time.
    pub time: Timestamp,
}

/// A signed [`TrustBody`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrustAnswer {
    /// What is said.
    pub body: TrustBody,
    /// The identity key's signature over the canonical form of the body.
    pub signature: Signature,
}

impl TrustAnswer {
    /// Signs an answer. Fails when a text in it has no canonical form.
    pub fn sign(body: TrustBody, identity: &SigningKey) -> Result<Self, canonical::CanonicalError> {
        let signature = identity.sign(TRUST_TAG, &canonical::to_vec(&body)?);
        Ok(Self { body, signature })
    }

    /// Whether it comes from the pinned server and answers this request.
    #[must_use]
    pub fn verify(&self, identity: &PublicKey, nonce: &str) -> bool {
        canonical::to_vec(&self.body)
            .is_ok_and(|message| self.body.nonce == nonce && identity.verifies(TRUST_TAG, &message, &self.signature))
    }
}

/// A certificate for a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateBody {
    /// The nonce of the request.
    pub nonce: String,
    /// The device.
    pub device: DeviceId,
    /// The certificate: DER in base64.
    pub certificate: String,
    /// When the next one should be asked for.
    pub renew_at: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// The certificates of the authorities that are trusted: DER in base64.
    pub authorities: Vec<String>,
    /// The server's time.
    pub time: Timestamp,
}

/// A signed [`CertificateBody`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateAnswer {
    /// What is said.
    pub body: CertificateBody,
    /// The identity key's signature over the canonical form of the body.
    pub signature: Signature,
}

impl CertificateAnswer {
    /// Signs an answer. Fails when a text in it has no canonical form.
    pub fn sign(body: CertificateBody, identity: &SigningKey) -> Result<Self, canonical::CanonicalError> {
        let signature = identity.sign(CERTIFICATE_TAG, &canonical::to_vec(&body)?);
        Ok(Self { body, signature })
    }

    /// Whether it comes from the pinned server and answers this request of this device.
    #[must_use]
    pub fn verify(&self, identity: &PublicKey, nonce: &str, device: DeviceId) -> bool {
        canonical::to_vec(&self.body).is_ok_and(|message| {
            self.body.nonce == nonce
                && self.body.device == device
                && identity.verifies(CERTIFICATE_TAG, &message, &self.signature)
        })
    }
}
