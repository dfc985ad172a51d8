//! Seeded choices. SplitMix64: what is drawn need not be secret, only cheap and repeatable.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A stream of choices of its own for each purpose, so that one draw more here changes nothing there.
#[derive(Debug)]
pub struct Dice(AtomicU64);

impl Dice {
    /// The stream of a seed for a purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(purpose.as_bytes());
        let mut state = [0; 8];
        state.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(AtomicU64::new(u64::from_le_bytes(state)))
    }

    /// Any number.
    pub fn number(&self) -> u64 {
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// A place in a list that is not empty.
    pub fn place(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// Yes, so many times out of a thousand.
    pub fn chance(&self, per_mille: u32) -> bool {
        self.below(1_000) < u64::from(per_mille)
    }

    /// A time between two, short ones as likely as long ones.
    pub fn time(&self, least: Duration, most: Duration) -> Duration {
        let (least, most) = (least.as_millis().max(1) as f64, most.as_millis().max(1) as f64);
        let share = self.below(1 << 20) as f64 / f64::from(1 << 20);
        Duration::from_millis((least * (most / least).powf(share)) as u64)
    }

    /// A time in seconds between two, all equally likely.
    pub fn seconds(&self, least: u64, most: u64) -> Duration {
        Duration::from_secs(least + self.below(most.saturating_sub(least) + 1))
    }
}
