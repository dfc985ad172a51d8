//! Numbers that follow from a seed, a subject and a number, in whatever order they are asked for.

use fleet_core::kernel::{EntityId, Timestamp};
use uuid::Uuid;

/// SplitMix64. Not for secrets.
#[derive(Clone, Debug)]
pub struct Dice(u64);

/// The finaliser of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dice {
    /// The dice of the `n`th of something.
    pub fn new(seed: u64, subject: &str, n: u64) -> Self {
        let start = mix(seed ^ 0x9e37_79b9_7f4a_7c15);
        let subject = subject.bytes().fold(start, |state, byte| mix(state ^ u64::from(byte)));
        Self(mix(subject ^ n))
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// 0 to `end` − 1; 0 when `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or(0)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    /// One of them. There must be one.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes()[..part.len()]);
        }
        bytes
    }

    /// `N` bytes as hexadecimal digits.
    pub fn hex<const N: usize>(&mut self) -> String {
        hex::encode(self.bytes::<N>())
    }

    /// An id as the product makes them, with the time in front.
    pub fn uuid(&mut self, at: Timestamp) -> Uuid {
        let millis = u64::try_from(at.as_millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid()
    }

    /// The same, typed.
    pub fn id<T: EntityId>(&mut self, at: Timestamp) -> T {
        T::from_uuid(self.uuid(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_subject_gives_the_same_numbers_and_another_gives_others() {
        let roll = |seed, subject, n| Dice::new(seed, subject, n).bytes::<16>();
        assert_eq!(roll(1, "device", 7), roll(1, "device", 7));
        let all = [
            roll(1, "device", 7),
            roll(2, "device", 7),
            roll(1, "run", 7),
            roll(1, "device", 8),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(!all[..n].contains(one));
        }
    }
}
