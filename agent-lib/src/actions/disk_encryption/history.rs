//! Passphrases that were chosen before, so that none of them is chosen again: salted slow hashes, as of passwords.

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::{Error as HashError, phc},
};
use fleet_core::{
    kernel::{Randomness, random_bytes},
    work::secrets::SecretText,
};
use serde::{Deserialize, Serialize};

/// How many are remembered.
const MOST: usize = 5;
/// OWASP Password Storage Cheat Sheet (2023) for argon2id, as the server does: 19 MiB, two passes, one lane.
const EFFORT: (u32, u32, u32) = (19_456, 2, 1);

/// The newest passphrases of a volume, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct History(Vec<String>);

impl History {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a passphrase is among them.
    ///
    /// # Errors
    /// When a hash is none, or there is no memory for it.
    pub(super) fn has(&self, passphrase: &SecretText) -> Result<bool, HashError> {
        for hash in &self.0 {
            let hash = phc::PasswordHash::new(hash).map_err(|_| HashError::EncodingInvalid)?;
            match Argon2::default().verify_password(passphrase.reveal().as_bytes(), &hash) {
                Ok(()) => return Ok(true),
                Err(HashError::PasswordInvalid) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The same with one more; the oldest goes.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(super) fn with(&self, passphrase: &SecretText, random: &dyn Randomness) -> Result<Self, HashError> {
        let (memory, passes, lanes) = EFFORT;
        let params = Params::new(memory, passes, lanes, None).map_err(|_| HashError::ParamsInvalid)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let salt = random_bytes::<16>(random);
        let hash: phc::PasswordHash = argon2.hash_password_with_salt(passphrase.reveal().as_bytes(), &salt)?;
        let mut all = self.0.clone();
        all.push(hash.to_string());
        let surplus = all.len().saturating_sub(MOST);
        all.drain(..surplus);
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_core::kernel::SeededRandom;

    #[test]
    fn the_newest_five_are_known_and_none_can_be_read() {
        let random = SeededRandom::new(1);
        let passphrase = |number: usize| SecretText::from(format!("correct horse {number}"));
        let mut history = History::default();
        for number in 0..7 {
            assert!(!history.has(&passphrase(number)).unwrap());
            history = history.with(&passphrase(number), &random).unwrap();
        }
        let known: Vec<_> = (0..8)
            .filter(|number| history.has(&passphrase(*number)).unwrap())
            .collect();
        assert_eq!(known, [2, 3, 4, 5, 6]);
        let text = serde_json::to_string(&history).unwrap();
        assert!(!text.contains("horse") && text.matches("$argon2id$v=19$m=19456,t=2,p=1$").count() == 5);
        let again = History::default().with(&passphrase(6), &random).unwrap();
        assert_ne!(again.0[0], history.0[4], "salted");
    }
}
