//! Sealed secrets: XChaCha20-Poly1305 under a master key that lives outside the store.
//!
//! The additional data of every sealed value names the row that owns it, so that a value copied to another row does not
//! open. The id of the key that sealed it stands beside it, so that a missing key can be named and keys can be rotated.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Randomness, random_bytes};

const KEY: usize = 32;
const NONCE: usize = 24;

/// A key of 256 bits that seals every secret in a store.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; KEY]>);

impl MasterKey {
    /// Makes a new key.
    pub fn generate(random: &dyn Randomness) -> Self {
        Self(Zeroizing::new(random_bytes(random)))
    }

    /// A key that was derived from something else.
    pub(crate) fn from_bytes(bytes: Zeroizing<[u8; KEY]>) -> Self {
        Self(bytes)
    }

    /// Reads the text form, as it stands in a key file.
    pub fn from_text(text: &str) -> Result<Self, SealError> {
        let text = text.trim();
        let encoded = text.strip_prefix("fleet-master-key-1:").ok_or(SealError::KeyFormat)?;
        let bytes = Zeroizing::new(STANDARD_NO_PAD.decode(encoded).map_err(|_| SealError::KeyFormat)?);
        let key: [u8; KEY] = bytes.as_slice().try_into().map_err(|_| SealError::KeyFormat)?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// The text form, for a key file that only its owner can read.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("fleet-master-key-1:{}", STANDARD_NO_PAD.encode(*self.0)))
    }

    /// A name for the key that tells nothing about it: 8 bytes of a derived hash, in hexadecimal.
    pub fn id(&self) -> String {
        hex::encode(&blake3::derive_key("fleet master key id", &*self.0)[..8])
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id())
    }
}

/// A secret that only the holder of the master key can read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which master key sealed it.
    key: String,
    /// Nonce and ciphertext, in base64.
    data: String,
}

impl Sealed {
    /// Which master key sealed it.
    pub fn key_id(&self) -> &str {
        &self.key
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(by {})", self.key)
    }
}

/// Why something could not be sealed or opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The file is not a master key.
    #[error("not a master key: expected one line that begins with fleet-master-key-1:")]
    KeyFormat,
    /// The key that sealed the value is not here.
    #[error("master key {0} is missing; start with the key file that made this store")]
    KeyMissing(String),
    /// The value was altered, or belongs to another row.
    #[error("a sealed value does not open: it was altered or belongs to another row")]
    Damaged,
}

/// Seals with the current master key and opens with any that it knows.
///
/// ```
/// use fleet_core::kernel::{MasterKey, SealError, Sealer, SystemRandom};
///
/// let sealer = Sealer::new(MasterKey::generate(&SystemRandom));
/// let sealed = sealer.seal("mail_server/7", b"hunter2", &SystemRandom)?;
/// assert_eq!(sealer.open("mail_server/7", &sealed)?.as_slice(), b"hunter2");
/// // Copied to another row, it does not open.
/// assert_eq!(sealer.open("mail_server/8", &sealed), Err(SealError::Damaged));
/// # Ok::<(), SealError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sealer {
    current: String,
    keys: BTreeMap<String, MasterKey>,
}

impl Sealer {
    /// Seals with `current`.
    pub fn new(current: MasterKey) -> Self {
        let id = current.id();
        Self {
            current: id.clone(),
            keys: BTreeMap::from([(id, current)]),
        }
    }

    /// Also opens what `former` sealed.
    #[must_use]
    pub fn with_former(mut self, former: MasterKey) -> Self {
        self.keys.insert(former.id(), former);
        self
    }

    /// The key that seals.
    pub(crate) fn current(&self) -> &MasterKey {
        &self.keys[&self.current]
    }

    /// The id of the key that seals.
    pub fn key_id(&self) -> &str {
        &self.current
    }

    /// Seals `secret` for the row that `owner` names.
    pub fn seal(&self, owner: &str, secret: &[u8], random: &dyn Randomness) -> Result<Sealed, SealError> {
        let nonce: [u8; NONCE] = random_bytes(random);
        let cipher = self.cipher(&self.current)?;
        let sealed = cipher
            .encrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: secret,
                    aad: owner.as_bytes(),
                },
            )
            .map_err(|_| SealError::Damaged)?;
        let mut data = nonce.to_vec();
        data.extend_from_slice(&sealed);
        Ok(Sealed {
            key: self.current.clone(),
            data: STANDARD_NO_PAD.encode(data),
        })
    }

    /// Opens a secret of the row that `owner` names.
    pub fn open(&self, owner: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let data = STANDARD_NO_PAD.decode(&sealed.data).map_err(|_| SealError::Damaged)?;
        let (nonce, text) = data.split_at_checked(NONCE).ok_or(SealError::Damaged)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| SealError::Damaged)?;
        let cipher = self.cipher(&sealed.key)?;
        let secret = cipher
            .decrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: text,
                    aad: owner.as_bytes(),
                },
            )
            .map_err(|_| SealError::Damaged)?;
        Ok(Zeroizing::new(secret))
    }

    /// What tells a secret from others and tells nothing about it to whoever has no master key: 16 bytes in hexadecimal digits. Under
    /// another master key it is another.
    pub fn fingerprint(&self, secret: &[u8]) -> String {
        let key = Zeroizing::new(blake3::derive_key(
            "fleet fingerprint of secrets v1",
            &*self.current().0,
        ));
        hex::encode(&blake3::keyed_hash(&key, secret).as_bytes()[..16])
    }

    fn cipher(&self, id: &str) -> Result<XChaCha20Poly1305, SealError> {
        let key = self.keys.get(id).ok_or_else(|| SealError::KeyMissing(id.to_owned()))?;
        Ok(XChaCha20Poly1305::new(&(*key.0).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SeededRandom;

    #[test]
    fn a_secret_opens_for_its_owner_and_its_key_only() {
        let random = SeededRandom::new(3);
        let sealer = Sealer::new(MasterKey::generate(&random));
        let other = Sealer::new(MasterKey::generate(&random));
        let sealed = sealer.seal("key/1", b"secret", &random).unwrap();

        assert_eq!(sealer.open("key/1", &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(sealer.open("key/2", &sealed), Err(SealError::Damaged));
        assert_eq!(
            other.open("key/1", &sealed),
            Err(SealError::KeyMissing(sealer.key_id().to_owned()))
        );
        assert!(!serde_json::to_string(&sealed).unwrap().contains("secret"));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let random = SeededRandom::new(4);
        let sealer = Sealer::new(MasterKey::generate(&random));
        let sealed = sealer.seal("row", b"secret", &random).unwrap();
        let data = STANDARD_NO_PAD.decode(&sealed.data).unwrap();
        for bit in 0..data.len() * 8 {
            let mut altered = data.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let altered = Sealed {
                key: sealed.key.clone(),
                data: STANDARD_NO_PAD.encode(altered),
            };
            assert_eq!(sealer.open("row", &altered), Err(SealError::Damaged));
        }
    }

    #[test]
    fn a_key_survives_its_text_form() {
        let key = MasterKey::generate(&SeededRandom::new(5));
        assert_eq!(
            MasterKey::from_text(&format!("{}\n", *key.to_text())).unwrap().id(),
            key.id()
        );
        assert_eq!(MasterKey::from_text("hello").unwrap_err(), SealError::KeyFormat);
        assert!(!format!("{key:?}").contains(key.to_text().as_str()));
    }
}
