//! How the key that signs work passes to its successor: the former key signs for the next.

use serde::{Deserialize, Serialize};

use crate::kernel::{PublicKey, Signature, SigningKey, Timestamp, canonical};

const TAG: &str = "fleet dispatch handover v1";
/// The most handovers that are kept and followed. With one a year that is longer than any device is away.
pub const MAX_HANDOVERS: usize = 64;

/// One dispatch key hands over to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The next key.
    pub to: PublicKey,
    /// When.
    pub at: Timestamp,
    /// The former key's signature over both.
    pub signature: Signature,
}

/// What is signed.
#[derive(Serialize)]
struct Signed {
    to: PublicKey,
    at: Timestamp,
}

fn message(to: PublicKey, at: Timestamp) -> Result<Vec<u8>, canonical::CanonicalError> {
    canonical::to_vec(&Signed { to, at })
}

impl Handover {
    /// The former key hands over.
    pub fn sign(former: &SigningKey, to: PublicKey, at: Timestamp) -> Result<Self, canonical::CanonicalError> {
        let signature = former.sign(TAG, &message(to, at)?);
        Ok(Self { to, at, signature })
    }

    fn is_by(&self, former: &PublicKey) -> bool {
        message(self.to, self.at).is_ok_and(|message| former.verifies(TAG, &message, &self.signature))
    }
}

/// Whether `key` is the pinned one or follows from it by handovers, given in the order in which they happened. Those from before the pinned
/// key are passed over; a key never goes back to a former one.
pub fn follows(pinned: PublicKey, key: PublicKey, handovers: &[Handover]) -> bool {
    let mut reached = pinned;
    for handover in handovers.iter().take(MAX_HANDOVERS) {
        if reached != key && handover.is_by(&reached) {
            reached = handover.to;
        }
    }
    reached == key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    /// Keys 1 → 2 → 3 → 4, one after the other.
    fn chain() -> Vec<Handover> {
        let handover = |n: u8| Handover::sign(&key(n), key(n + 1).public(), Timestamp::from_seconds(n.into())).unwrap();
        (1..4).map(handover).collect()
    }

    #[track_caller]
    fn check(pinned: u8, claimed: u8, change: impl FnOnce(&mut Vec<Handover>), expected: bool) {
        let mut handovers = chain();
        change(&mut handovers);
        assert_eq!(
            follows(key(pinned).public(), key(claimed).public(), &handovers),
            expected,
            "{pinned} to {claimed}"
        );
    }

    #[test]
    fn a_key_follows_from_every_key_before_it_and_from_none_after_it() {
        for (pinned, claimed) in [(1, 1), (1, 2), (1, 4), (2, 3), (3, 4), (4, 4)] {
            check(pinned, claimed, |_| {}, true);
        }
        for (pinned, claimed) in [(2, 1), (4, 3), (4, 1), (1, 9), (9, 4)] {
            check(pinned, claimed, |_| {}, false);
        }
        check(9, 9, Vec::clear, true);
    }

    #[test]
    fn a_chain_with_a_link_missing_or_made_by_others_leads_nowhere() {
        check(1, 4, |chain| chain.truncate(1), false);
        check(1, 4, |chain| chain.swap(1, 2), false);
        check(1, 4, |chain| chain.reverse(), false);
        check(1, 4, |chain| chain[1].at = Timestamp::EPOCH, false);
        check(1, 9, |chain| chain[2].to = key(9).public(), false);
        let forged = Handover::sign(&key(8), key(9).public(), Timestamp::EPOCH).unwrap();
        check(4, 9, |chain| chain.push(forged), false);
        let long: Vec<_> = chain()[..1].iter().cycle().take(MAX_HANDOVERS).cloned().collect();
        check(2, 3, |chain| chain.splice(..0, long).for_each(drop), false);
    }
}
