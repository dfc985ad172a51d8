//! The secret of a token, and the proof that an agent has the key that it names. Pure; used by server and agent.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use crate::kernel::{PublicKey, Randomness, random_bytes};

/// The tag under which the device key signs [`proof_message`].
pub const PROOF_TAG: &str = "fleet enrol v1";

/// The tag under which a device's former key signs the same, so that the device goes on with the new one.
pub const PREVIOUS_TAG: &str = "fleet enrol previous v1";

/// What is hashed into [`EnrolmentSecret::hash`], so that the hash of the same bytes elsewhere is another.
const HASH_CONTEXT: &str = "fleet enrolment secret v1";
/// Characters of the secret that lists show. They leave 208 of its 256 bits unknown.
const PREFIX: usize = 8;

/// The secret of an enrolment token: 32 random bytes, in base64url. Whoever has it can enrol devices.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentSecret(Zeroizing<[u8; 32]>);

impl EnrolmentSecret {
    /// Makes a new secret.
    pub fn generate(random: &dyn Randomness) -> Self {
        Self(Zeroizing::new(random_bytes(random)))
    }

    /// Reads the text of a secret; none when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        match URL_SAFE_NO_PAD.decode_slice(text, &mut *bytes) {
            Ok(32) => Some(Self(bytes)),
            _ => None,
        }
    }

    /// The text of the secret, for the token's text and for the request that presents it.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.0))
    }

    /// The first characters, by which people tell tokens apart.
    pub fn prefix(&self) -> String {
        self.reveal()[..PREFIX].to_owned()
    }

    /// What the server keeps. The secret has 256 random bits, so nothing slower is needed.
    pub fn hash(&self) -> [u8; 32] {
        blake3::derive_key(HASH_CONTEXT, &*self.0)
    }
}

impl fmt::Debug for EnrolmentSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrolmentSecret({}…)", self.prefix())
    }
}

impl Serialize for EnrolmentSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

impl<'de> Deserialize<'de> for EnrolmentSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not an enrolment secret"))
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for EnrolmentSecret {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for EnrolmentSecret {}

/// What the device key signs under [`PROOF_TAG`]: the agent's nonce, the hash of the token's secret and the key itself, so
/// that the proof holds for one enrolment by one key with one token. All parts have fixed lengths.
pub fn proof_message(nonce: &[u8; 32], secret_hash: &[u8; 32], key: &PublicKey) -> Vec<u8> {
    [&nonce[..], secret_hash, key.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SeededRandom;

    #[test]
    fn a_secret_shows_itself_only_when_asked() {
        let secret = EnrolmentSecret::generate(&SeededRandom::new(1));
        let text = secret.reveal();
        assert!(!format!("{secret:?}").contains(&text[8..]));
        assert_eq!(EnrolmentSecret::parse(&text), Some(secret));
    }

    #[test]
    fn hostile_texts_are_no_secrets() {
        for text in [
            "",
            "x",
            "====",
            &"A".repeat(42),
            &"A".repeat(44),
            &"A".repeat(100_000),
            "ä",
        ] {
            assert_eq!(EnrolmentSecret::parse(text), None, "{text}");
        }
    }
}
