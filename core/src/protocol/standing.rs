//! How a device stands with its server, said in an answer that the identity key signed: what an agent may believe when it waits
//! for an operator, and what it must have heard before it forgets who it is.

use serde::{Deserialize, Serialize};

use crate::{
    devices::DeviceId,
    kernel::{EntityId as _, PublicKey, Signature, SigningKey, Timestamp, canonical},
};

const REQUEST_TAG: &str = "fleet standing request v1";
const TAG: &str = "fleet standing v1";
/// The longest nonce, in bytes.
const MAX_NONCE: usize = 64;

/// Asks how the device of a key stands. It proves the key by itself, for it is asked by those whom nothing else lets in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({
    "device": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41", "nonce": "AAECAwQFBgcICQoLDA0ODw",
    "public_key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "proof": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
})))]
pub struct StandingRequest {
    /// The device that the agent was enrolled as.
    pub device: DeviceId,
    /// The device's key.
    pub public_key: PublicKey,
    /// Random bytes of the agent in base64url, at most 64 characters.
    pub nonce: String,
    /// The key's signature over nonce, device and key.
    pub proof: Signature,
}

impl StandingRequest {
    /// The request of a device.
    pub fn sign(device: DeviceId, key: &SigningKey, nonce: String) -> Self {
        let public_key = key.public();
        Self {
            proof: key.sign(REQUEST_TAG, &message(device, &public_key, &nonce)),
            device,
            public_key,
            nonce,
        }
    }

    /// Whether the key made it.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.nonce.len() <= MAX_NONCE
            && self.public_key.verifies(
                REQUEST_TAG,
                &message(self.device, &self.public_key, &self.nonce),
                &self.proof,
            )
    }
}

/// Device and key have fixed lengths, and the nonce comes last.
fn message(device: DeviceId, key: &PublicKey, nonce: &str) -> Vec<u8> {
    [&device.uuid().as_bytes()[..], key.as_bytes(), nonce.as_bytes()].concat()
}

/// How a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It may connect, as the device that the answer names: after an operator's decision perhaps as another than it was.
    Admitted,
    /// It waits for an operator's approval.
    Pending,
    /// An operator keeps it out, for now.
    KeptOut,
    /// An operator rejected it: its agent forgets this server and stops.
    Rejected,
    /// An operator deleted it: its agent forgets this server and stops.
    Deleted,
    /// Another key took the place of this one: its agent forgets this server and stops.
    Replaced,
    /// The server does not know it, and does not know that it was deleted: it may have been set back to an older state.
    #[serde(other)]
    Unknown,
}

impl Standing {
    /// Whether the agent's time here is over.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Rejected | Self::Deleted | Self::Replaced)
    }
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StandingBody {
    /// The nonce of the request.
    pub nonce: String,
    /// The key that asked.
    pub public_key: PublicKey,
    /// The device of this key now; the one that was asked for where the key has none.
    pub device: DeviceId,
    /// The device's name; empty where the key has none.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
    /// The server's time.
    pub time: Timestamp,
}

/// A signed [`StandingBody`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StandingAnswer {
    /// What is said.
    pub body: StandingBody,
    /// The identity key's signature over the canonical form of the body.
    pub signature: Signature,
}

impl StandingAnswer {
    /// Signs an answer. Fails when a text in it has no canonical form.
    pub fn sign(body: StandingBody, identity: &SigningKey) -> Result<Self, canonical::CanonicalError> {
        let signature = identity.sign(TAG, &canonical::to_vec(&body)?);
        Ok(Self { body, signature })
    }

    /// Whether it comes from the pinned server, and answers this request.
    #[must_use]
    pub fn verify(&self, identity: &PublicKey, request: &StandingRequest) -> bool {
        canonical::to_vec(&self.body).is_ok_and(|message| {
            self.body.nonce == request.nonce
                && self.body.public_key == request.public_key
                && identity.verifies(TAG, &message, &self.signature)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SeededRandom;

    #[test]
    fn an_answer_is_believed_from_the_pinned_server_to_this_request_only() {
        let random = SeededRandom::new(1);
        let (server, key) = (SigningKey::generate(&random), SigningKey::generate(&random));
        let device = DeviceId::new(Timestamp::EPOCH, &random);
        let request = StandingRequest::sign(device, &key, "nonce".into());
        assert!(request.is_proved());
        for forged in [
            StandingRequest {
                nonce: "other".into(),
                ..request.clone()
            },
            StandingRequest {
                device: DeviceId::new(Timestamp::EPOCH, &random),
                ..request.clone()
            },
            StandingRequest {
                public_key: server.public(),
                ..request.clone()
            },
            StandingRequest::sign(device, &key, "n".repeat(65)),
        ] {
            assert!(!forged.is_proved());
        }
        let body = StandingBody {
            nonce: "nonce".into(),
            public_key: key.public(),
            device,
            name: String::new(),
            standing: Standing::Deleted,
            time: Timestamp::EPOCH,
        };
        let answer = StandingAnswer::sign(body, &server).unwrap();
        assert!(answer.verify(&server.public(), &request));
        assert!(!answer.verify(&key.public(), &request), "another server");
        let later = StandingRequest::sign(device, &key, "later".into());
        assert!(!answer.verify(&server.public(), &later), "an answer that was kept");
        let mut altered = answer;
        altered.body.standing = Standing::Admitted;
        assert!(!altered.verify(&server.public(), &request));
    }

    #[test]
    fn a_standing_of_a_later_version_is_unknown_and_ends_nothing() {
        let standing: Standing = serde_json::from_str("\"excommunicated\"").unwrap();
        assert_eq!(standing, Standing::Unknown);
        assert!(!standing.is_end());
    }
}
