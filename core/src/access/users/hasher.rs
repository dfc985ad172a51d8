//! Hashing of passwords, off the async threads and bounded in memory and in waiting.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::{Error as HashError, phc},
};
use tokio::sync::Semaphore;

use super::{Password, PasswordHash};
use crate::kernel::{Class, Code, Error, Randomness, Result, random_bytes};

/// Too many passwords are being checked at this moment.
pub const BUSY: Code = Code::new("auth.busy", Class::Unavailable);

/// OWASP Password Storage Cheat Sheet (2023) for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Hashes at once: each takes 19 MiB and a core for some tens of milliseconds.
const AT_ONCE: usize = 2;
/// Hashes at once or waiting; more are refused.
const ADMITTED: usize = 64;

/// What is verified when there is no such user, so that the answer takes as long. No password is known to have this hash.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and verifies passwords.
#[derive(Debug)]
pub(crate) struct Hasher {
    admitted: Arc<Semaphore>,
    at_once: Arc<Semaphore>,
}

impl Hasher {
    pub(crate) fn new() -> Self {
        Self {
            admitted: Arc::new(Semaphore::new(ADMITTED)),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// The hash of a password, with a new salt.
    pub(crate) async fn hash(&self, password: &Password, random: &dyn Randomness) -> Result<PasswordHash> {
        let password = password.clone();
        let salt = random_bytes::<16>(random);
        self.run(move || {
            let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(Error::internal)?;
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let hash: phc::PasswordHash = argon2
                .hash_password_with_salt(password.as_str().as_bytes(), &salt)
                .map_err(Error::internal)?;
            Ok(PasswordHash::from_phc(hash.to_string()))
        })
        .await
    }

    /// Whether the password has this hash. Without a hash the answer is no, after the same work.
    pub(crate) async fn verify(&self, password: &Password, hash: Option<&PasswordHash>) -> Result<bool> {
        let password = password.clone();
        let known = hash.is_some();
        let hash = hash.map_or(NOBODY, PasswordHash::as_phc).to_owned();
        self.run(move || {
            let hash = phc::PasswordHash::new(&hash).map_err(Error::internal)?;
            // The parameters of the stored hash are used, so that older hashes go on to verify when ours are raised.
            match Argon2::default().verify_password(password.as_str().as_bytes(), &hash) {
                Ok(()) => Ok(known),
                Err(HashError::PasswordInvalid) => Ok(false),
                Err(error) => Err(Error::internal(error)),
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| {
            BUSY.error("too many passwords are being checked at this moment; try again")
                .with_retry_after(2)
        })?;
        let running = self.at_once.clone().acquire_owned().await.map_err(Error::internal)?;
        // The permits go into the task: when the caller goes away, the work still counts until it is done.
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop((running, admitted));
            done
        })
        .await
        .map_err(Error::internal)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SeededRandom;

    #[tokio::test]
    async fn a_password_has_its_own_hash_and_no_other() {
        let hasher = Hasher::new();
        let random = SeededRandom::new(1);
        let password = Password::from("correct horse battery");
        let hash = hasher.hash(&password, &random).await.unwrap();
        assert!(hash.as_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_ne!(hash, hasher.hash(&password, &random).await.unwrap(), "salted");
        assert!(hasher.verify(&password, Some(&hash)).await.unwrap());
        assert!(
            !hasher
                .verify(&"correct horse batterz".into(), Some(&hash))
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn nobodys_hash_costs_the_same_and_never_verifies() {
        let hash = phc::PasswordHash::new(NOBODY).unwrap();
        let params = Params::try_from(&hash).unwrap();
        assert_eq!(
            (params.m_cost(), params.t_cost(), params.p_cost()),
            (MEMORY_KIB, PASSES, LANES)
        );
        assert!(!Hasher::new().verify(&"anything at all".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn more_than_may_wait_are_refused_with_a_time_to_come_back() {
        let hasher = Hasher::new();
        let all = hasher.admitted.clone().try_acquire_many_owned(64).unwrap();
        let error = hasher.verify(&"anything at all".into(), None).await.unwrap_err();
        assert_eq!((error.code(), error.retry_after_seconds()), (BUSY, Some(2)));
        drop(all);
        assert!(hasher.verify(&"anything at all".into(), None).await.is_ok());
    }
}
