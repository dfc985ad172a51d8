//! What an agent asks for when it enrols.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{EnrolmentSecret, PREVIOUS_TAG, PROOF_INVALID, PROOF_TAG, proof_message};
use crate::{
    devices::{DeviceId, inventory::clean_text},
    kernel::{Error, PublicKey, Result, Signature, SigningKey},
};

/// The longest version of an agent, in bytes.
pub(super) const MAX_AGENT_VERSION: usize = 64;
/// The longest machine id, in bytes; that of systemd has 32.
const MAX_MACHINE_ID: usize = 64;
/// The longest host name, in bytes (RFC 1035 §2.3.4).
const MAX_HOSTNAME: usize = 253;

/// What an agent presents to become a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({
    "secret": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "public_key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "proof": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "hostname": "web-01", "machine_id": "5b9a1f0c2d3e4f5061728394a5b6c7d8", "agent_version": "0.1.0"
})))]
pub struct EnrolRequest {
    /// The secret of the enrolment token.
    pub secret: EnrolmentSecret,
    /// The device's own key.
    pub public_key: PublicKey,
    /// Random bytes of the agent, 32 in base64url; the server's answer is signed over them.
    #[serde(serialize_with = "write_nonce", deserialize_with = "read_nonce")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub nonce: [u8; 32],
    /// The device key's signature that shows that the agent has it.
    pub proof: Signature,
    /// The host name; the device's first name.
    pub hostname: String,
    /// What the machine calls itself for good, such as the text of `/etc/machine-id`.
    #[serde(default)]
    pub machine_id: Option<String>,
    /// The version of the agent.
    pub agent_version: String,
    /// The device that the machine was until now, where its agent still has that device's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
}

/// Shows that a machine is the device that it was, by that device's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Previous {
    /// The device.
    pub device: DeviceId,
    /// Its key's signature over what the new key signs.
    pub proof: Signature,
}

impl EnrolRequest {
    /// The request of a machine with this key, proved.
    pub fn prove(secret: EnrolmentSecret, key: &SigningKey, nonce: [u8; 32], machine: Machine) -> Self {
        let public_key = key.public();
        Self {
            proof: key.sign(PROOF_TAG, &proof_message(&nonce, &secret.hash(), &public_key)),
            secret,
            public_key,
            nonce,
            hostname: machine.hostname,
            machine_id: machine.machine_id,
            agent_version: machine.agent_version,
            previous: None,
        }
    }

    /// The same, of a machine that has been this device until now.
    #[must_use]
    pub fn as_before(mut self, device: DeviceId, key: &SigningKey) -> Self {
        let proof = key.sign(PREVIOUS_TAG, &self.message());
        self.previous = Some(Previous { device, proof });
        self
    }

    fn message(&self) -> Vec<u8> {
        proof_message(&self.nonce, &self.secret.hash(), &self.public_key)
    }

    /// Whether the request proves the key of the device that it says to have been.
    pub(super) fn proves_previous(&self, key: &PublicKey) -> bool {
        let previous = self.previous.as_ref();
        previous.is_some_and(|previous| key.verifies(PREVIOUS_TAG, &self.message(), &previous.proof))
    }

    /// Checks the proof, and makes the machine's texts fit to be stored.
    pub(super) fn check(&self) -> Result<Machine> {
        if !self.public_key.verifies(PROOF_TAG, &self.message(), &self.proof) {
            return Err(PROOF_INVALID.error("the signature does not show that this agent has the key that it names"));
        }
        let machine_id = self.machine_id.as_deref().map(str::trim).filter(|id| !id.is_empty());
        if let Some(id) = machine_id {
            let fits = id.len() <= MAX_MACHINE_ID
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'));
            if !fits {
                let why = format!("a machine id is at most {MAX_MACHINE_ID} of a-z, A-Z, 0-9 and - _ . :");
                return Err(Error::invalid_field("/machine_id", why));
            }
        }
        let hostname = clean_text(&self.hostname, MAX_HOSTNAME);
        Ok(Machine {
            // A machine without a name is not kept out for that.
            hostname: if hostname.is_empty() {
                "unnamed".into()
            } else {
                hostname
            },
            machine_id: machine_id.map(str::to_owned),
            agent_version: clean_text(&self.agent_version, MAX_AGENT_VERSION),
        })
    }
}

/// What a machine says of itself when it enrols.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The host name.
    pub hostname: String,
    /// What it calls itself for good.
    pub machine_id: Option<String>,
    /// The version of its agent.
    pub agent_version: String,
}

/// What came of an enrolment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Enrolled {
    /// The device.
    pub device_id: DeviceId,
    /// Its name.
    pub name: String,
    /// Whether the device was there before: the enrolment was repeated, or the machine came back.
    pub known: bool,
    /// Whether it waits for an operator, and can do nothing before.
    pub pending: bool,
}

fn write_nonce<S: Serializer>(nonce: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&URL_SAFE_NO_PAD.encode(nonce))
}

fn read_nonce<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
    let mut nonce = [0; 32];
    match URL_SAFE_NO_PAD.decode_slice(&*text, &mut nonce) {
        Ok(32) => Ok(nonce),
        _ => Err(de::Error::custom("not a nonce of 32 bytes in base64url")),
    }
}
