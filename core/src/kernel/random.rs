//! Where randomness comes from.

use std::{fmt, sync::Mutex};

use uuid::Uuid;

use super::Timestamp;

/// Fills buffers with random bytes. Secrets, nonces and ids come from here and from nowhere else.
pub trait Randomness: fmt::Debug + Send + Sync + 'static {
    /// Overwrites all of `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's generator; fit for secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Randomness for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        // Without entropy no key and no token may be made: going on would be worse than stopping.
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// A repeatable generator (the key stream of BLAKE3) for tests and simulations. Never for secrets.
#[derive(Debug)]
pub struct SeededRandom(Mutex<(blake3::OutputReader, u64)>);

impl SeededRandom {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> Self {
        let reader = blake3::Hasher::new_derive_key("fleet seeded randomness")
            .update(&seed.to_le_bytes())
            .finalize_xof();
        Self(Mutex::new((reader, seed)))
    }
}

impl Randomness for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0
            .fill(bytes);
    }
}

/// `N` random bytes.
pub fn random_bytes<const N: usize>(random: &dyn Randomness) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

/// A new UUIDv7 (RFC 9562 §5.7): 48 bits of milliseconds, then randomness. Times before 1970 count as 1970.
pub fn random_uuid(now: Timestamp, random: &dyn Randomness) -> Uuid {
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random_bytes::<10>(random)).into_uuid()
}
