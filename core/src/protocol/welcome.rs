//! The server's answer to `hello`, signed with its identity key.

use serde::{Deserialize, Serialize};

use super::Handover;
use crate::{
    devices::DeviceId,
    kernel::{PublicKey, Signature, SigningKey, Timestamp, canonical},
};

const TAG: &str = "fleet welcome v1";

/// What the server says of itself and of the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WelcomeBody {
    /// The nonce of the agent's `hello`.
    pub nonce: String,
    /// The device as the server knows it.
    pub device: DeviceId,
    /// The version of the protocol in this session.
    pub protocol: u32,
    /// The version of the server.
    pub server_version: String,
    /// The session. A newer one wins.
    pub epoch: u64,
    /// The server's time, for the agent to correct its own by.
    pub time: Timestamp,
    /// The time between two beats, in seconds.
    pub heartbeat_seconds: u32,
    /// The time between two exchanges of an agent that polls, in seconds.
    pub poll_seconds: u32,
    /// The key that signs offers.
    pub dispatch_key: PublicKey,
}

/// A signed welcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// What is said.
    pub body: WelcomeBody,
    /// The identity key's signature over the canonical form of the body.
    pub signature: Signature,
    /// How the dispatch key followed from the keys before it, in order. Each is signed by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handovers: Vec<Handover>,
}

impl Welcome {
    /// Signs a welcome. Fails when a text in it has no canonical form.
    pub fn sign(body: WelcomeBody, identity: &SigningKey) -> Result<Self, canonical::CanonicalError> {
        let signature = identity.sign(TAG, &canonical::to_vec(&body)?);
        Ok(Self {
            body,
            signature,
            handovers: Vec::new(),
        })
    }

    /// Whether it comes from the pinned server and answers this nonce.
    #[must_use]
    pub fn verify(&self, identity: &PublicKey, nonce: &str) -> bool {
        canonical::to_vec(&self.body)
            .is_ok_and(|message| self.body.nonce == nonce && identity.verifies(TAG, &message, &self.signature))
    }
}
