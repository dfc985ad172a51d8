//! The master key under a passphrase: argon2id makes a key of it, which seals the master key as any secret is sealed.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::kernel::{MasterKey, Randomness, SealError, Sealed, Sealer, random_bytes};

/// RFC 9106 §4, second recommended option: 64 MiB, three passes; one lane in place of four.
const MEMORY_KIB: u32 = 65_536;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// What a foreign header may ask of this machine at most: 1 GiB and 16 passes.
const MOST_MEMORY_KIB: u32 = 1_048_576;
const MOST_PASSES: u32 = 16;
/// The shortest passphrase.
const LEAST: usize = 12;

/// A master key that opens with a passphrase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// The id of the master key.
    pub id: String,
    /// 16 random bytes, in base64.
    salt: String,
    /// Memory of argon2id, in KiB.
    memory_kib: u32,
    /// Passes of argon2id.
    passes: u32,
    /// Lanes of argon2id.
    lanes: u32,
    /// The key, sealed with XChaCha20-Poly1305.
    sealed: Sealed,
}

/// Why a key could not be wrapped or unwrapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Too short to keep a key.
    #[error("a passphrase has at least {LEAST} characters")]
    Short,
    /// Another passphrase wrapped it.
    #[error("this is not the passphrase of the backup")]
    Wrong,
    /// What the backup holds of its key is no such thing.
    #[error("the wrapped key is damaged")]
    Damaged,
}

/// Puts a master key under a passphrase. Takes 64 MiB and some tenths of a second.
///
/// # Errors
/// [`KeyError::Short`] below 12 characters.
pub fn wrap_key(key: &MasterKey, passphrase: &SecretString, random: &dyn Randomness) -> Result<WrappedKey, KeyError> {
    if passphrase.expose_secret().chars().count() < LEAST {
        return Err(KeyError::Short);
    }
    let salt: [u8; 16] = random_bytes(random);
    let sealer = Sealer::new(derive(passphrase, &salt, MEMORY_KIB, PASSES, LANES)?);
    let sealed = sealer
        .seal(&owner(&key.id()), key.to_text().as_bytes(), random)
        .map_err(|_| KeyError::Damaged)?;
    Ok(WrappedKey {
        id: key.id(),
        salt: STANDARD_NO_PAD.encode(salt),
        memory_kib: MEMORY_KIB,
        passes: PASSES,
        lanes: LANES,
        sealed,
    })
}

/// Takes a master key out again.
///
/// # Errors
/// [`KeyError::Wrong`] for another passphrase, [`KeyError::Damaged`] for what nobody has wrapped.
pub fn unwrap_key(wrapped: &WrappedKey, passphrase: &SecretString) -> Result<MasterKey, KeyError> {
    if wrapped.memory_kib > MOST_MEMORY_KIB || wrapped.passes > MOST_PASSES || wrapped.lanes > 16 {
        return Err(KeyError::Damaged);
    }
    let salt = STANDARD_NO_PAD.decode(&wrapped.salt).map_err(|_| KeyError::Damaged)?;
    let derived = derive(passphrase, &salt, wrapped.memory_kib, wrapped.passes, wrapped.lanes)?;
    let text = Sealer::new(derived)
        .open(&owner(&wrapped.id), &wrapped.sealed)
        .map_err(|error| match error {
            // The sealing key is named by what the passphrase makes.
            SealError::KeyMissing(_) => KeyError::Wrong,
            _ => KeyError::Damaged,
        })?;
    let text = std::str::from_utf8(&text).map_err(|_| KeyError::Damaged)?;
    let key = MasterKey::from_text(text).map_err(|_| KeyError::Damaged)?;
    if key.id() == wrapped.id {
        Ok(key)
    } else {
        Err(KeyError::Damaged)
    }
}

fn derive(passphrase: &SecretString, salt: &[u8], memory: u32, passes: u32, lanes: u32) -> Result<MasterKey, KeyError> {
    let params = Params::new(memory, passes, lanes, Some(32)).map_err(|_| KeyError::Damaged)?;
    let mut derived = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose_secret().as_bytes(), salt, &mut *derived)
        .map_err(|_| KeyError::Damaged)?;
    Ok(MasterKey::from_bytes(derived))
}

fn owner(id: &str) -> String {
    format!("backup/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SeededRandom;

    #[test]
    fn a_key_opens_with_its_passphrase_and_no_other() {
        let random = SeededRandom::new(1);
        let key = MasterKey::generate(&random);
        let passphrase = SecretString::from("twelve or more");
        let wrapped = wrap_key(&key, &passphrase, &random).unwrap();
        assert!(
            !serde_json::to_string(&wrapped)
                .unwrap()
                .contains(key.to_text().as_str())
        );
        assert_eq!(unwrap_key(&wrapped, &passphrase).unwrap().id(), key.id());
        let wrong = unwrap_key(&wrapped, &"twelve or less".into());
        assert_eq!(wrong.unwrap_err(), KeyError::Wrong);
        let costly = WrappedKey {
            passes: 1_000_000,
            ..wrapped.clone()
        };
        assert_eq!(unwrap_key(&costly, &passphrase).unwrap_err(), KeyError::Damaged);
        let other = WrappedKey {
            id: "other".into(),
            ..wrapped
        };
        assert_eq!(unwrap_key(&other, &passphrase).unwrap_err(), KeyError::Damaged);
        assert_eq!(wrap_key(&key, &"short".into(), &random).unwrap_err(), KeyError::Short);
    }
}
