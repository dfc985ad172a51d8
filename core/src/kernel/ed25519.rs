//! Ed25519 (RFC 8032) keys and signatures.
//!
//! Every signature is made over a *tag* and a message, so that what was signed for one purpose proves nothing in another.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::Signer as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use super::{Randomness, random_bytes};

/// What a text is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {0} in base64url")]
pub struct Ed25519ParseError(&'static str);

/// PKCS#8 of an Ed25519 key, version 1, without attributes, up to its 32 secret bytes.
const PKCS8_HEAD: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];

/// A private key. Shows itself only by its public half.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Makes a new key.
    pub fn generate(random: &dyn Randomness) -> Self {
        Self::from_bytes(&Zeroizing::new(random_bytes(random)))
    }

    /// The key of these 32 secret bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(bytes))
    }

    /// The 32 secret bytes, to be sealed or kept in a file that only its owner can read.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The key as PKCS#8 (RFC 8410 §7), which TLS libraries take.
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([&PKCS8_HEAD[..], &self.0.to_bytes()].concat())
    }

    /// The key of PKCS#8 without attributes; none when it is something else.
    pub fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let secret: &[u8; 32] = der.strip_prefix(&PKCS8_HEAD)?.try_into().ok()?;
        Some(Self::from_bytes(secret))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a message as it stands, for formats that say themselves what they are (certificates).
    pub(crate) fn sign_untagged(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Signs a message for the purpose that `tag` names.
    pub fn sign(&self, tag: &str, message: &[u8]) -> Signature {
        Signature(self.0.sign(&tagged(tag, message)).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public())
    }
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key of these 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` was made by this key over this message for this purpose. Weak keys verify nothing.
    #[must_use]
    pub fn verifies(&self, tag: &str, message: &[u8], signature: &Signature) -> bool {
        self.verifier().verifies(tag, message, signature)
    }

    /// The key, prepared for verifying often: the point is unpacked once.
    pub fn verifier(&self) -> Verifier {
        Verifier(ed25519_dalek::VerifyingKey::from_bytes(&self.0).ok())
    }
}

/// A public key that is prepared for verifying. Bytes that are no key verify nothing.
#[derive(Clone, Debug)]
pub struct Verifier(Option<ed25519_dalek::VerifyingKey>);

impl Verifier {
    /// As [`PublicKey::verifies`].
    #[must_use]
    pub fn verifies(&self, tag: &str, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0
            .as_ref()
            .is_some_and(|key| key.verify_strict(&tagged(tag, message), &signature).is_ok())
    }
}

/// A signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// The signature of these 64 bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Its 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

fn tagged(tag: &str, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + tag.len() + message.len());
    bytes.extend_from_slice(&(tag.len() as u64).to_le_bytes());
    bytes.extend_from_slice(tag.as_bytes());
    bytes.extend_from_slice(message);
    bytes
}

macro_rules! text_form {
    ($type:ident, $length:literal, $what:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self)
            }
        }

        impl std::str::FromStr for $type {
            type Err = Ed25519ParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $length];
                match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
                    Ok($length) => Ok(Self(bytes)),
                    _ => Err(Ed25519ParseError($what)),
                }
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                String::schema()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $type {}
    };
}
text_form!(PublicKey, 32, "a public key of 32 bytes");
text_form!(Signature, 64, "a signature of 64 bytes");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SeededRandom;

    #[test]
    fn a_signature_holds_for_its_key_purpose_and_message_only() {
        let random = SeededRandom::new(1);
        let (key, other) = (SigningKey::generate(&random), SigningKey::generate(&random));
        let signature = key.sign("fleet test", b"message");
        assert!(key.public().verifies("fleet test", b"message", &signature));
        assert!(!key.public().verifies("fleet tes", b"tmessage", &signature));
        assert!(!key.public().verifies("fleet test", b"messagf", &signature));
        assert!(!other.public().verifies("fleet test", b"message", &signature));
        for bit in 0..512 {
            let mut bytes = *signature.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !key.public()
                    .verifies("fleet test", b"message", &Signature::from_bytes(bytes))
            );
        }
    }

    #[test]
    fn texts_are_read_back_and_hostile_ones_refused() {
        let key = SigningKey::generate(&SeededRandom::new(2)).public();
        assert_eq!(key.to_string().parse(), Ok(key));
        for text in ["", "x", "!!!", &"A".repeat(44), &"A".repeat(10_000)] {
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn keys_of_low_order_verify_nothing() {
        let weak = PublicKey::from_bytes([0; 32]);
        assert!(!weak.verifies("fleet test", b"message", &Signature::from_bytes([0; 64])));
    }
}
