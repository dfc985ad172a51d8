//! Remembers the assertions that were used.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use crate::{
    kernel::Timestamp,
    protocol::{AssertionError, Claims, MAX_SKEW},
};

/// The nonces of the assertions that could still be replayed. Bounded by time and number.
#[derive(Debug)]
pub struct ReplayGuard {
    /// What was made before may have been used unseen: when this began, or when the clock was set back.
    since: Timestamp,
    /// The latest time that was seen.
    latest: Timestamp,
    seen: HashSet<[u8; 16]>,
    order: VecDeque<(Timestamp, [u8; 16])>,
    /// Assertions of this time or earlier were forgotten for want of room, so they are refused.
    floor: Timestamp,
}

/// At 100,000 devices that ask twice a minute this is more than the two minutes that an assertion can live.
const CAPACITY: usize = 500_000;

/// A clock that goes back by more was set; less is how clocks are slewed and cores differ.
const SET_BACK: Duration = Duration::from_secs(2);

impl ReplayGuard {
    /// Begins with nothing remembered: what was made before now may have been used before a restart, and is refused. The
    /// agent makes a new one at once.
    pub fn new(now: Timestamp) -> Self {
        Self {
            since: now,
            latest: now,
            seen: HashSet::new(),
            order: VecDeque::new(),
            floor: Timestamp::MIN,
        }
    }

    /// Admits an assertion, once.
    pub fn admit(&mut self, claims: &Claims, now: Timestamp) -> Result<(), AssertionError> {
        if now.plus(SET_BACK) < self.latest {
            // The server's clock was set back: times come again, and until then nobody may be kept out for being early. What was
            // forgotten meanwhile counts as before a start.
            (self.since, self.floor) = (now, self.floor.min(now));
            self.latest = now;
        }
        self.latest = self.latest.max(now);
        // A device's clock may be behind ours; only what is older than that was certainly made before we started.
        if claims.at.plus(Duration::from_secs(2)) < self.since || claims.at <= self.floor {
            return Err(AssertionError::Stale);
        }
        while self.order.front().is_some_and(|(until, _)| *until < now) {
            if let Some((_, key)) = self.order.pop_front() {
                self.seen.remove(&key);
            }
        }
        let mut key = [0; 16];
        key.copy_from_slice(&blake3::hash(format!("{} {}", claims.device, claims.nonce).as_bytes()).as_bytes()[..16]);
        if !self.seen.insert(key) {
            return Err(AssertionError::Replayed);
        }
        // An assertion from the future lives until its own time plus the skew.
        self.order.push_back((now.max(claims.at).plus(MAX_SKEW), key));
        if self.order.len() > CAPACITY {
            self.forget_oldest();
        }
        Ok(())
    }

    /// Makes room: what could be confused with the forgotten one is refused from now on.
    fn forget_oldest(&mut self) {
        if let Some((until, key)) = self.order.pop_front() {
            self.seen.remove(&key);
            // It was made at this time at the latest.
            self.floor = self.floor.max(until.minus(MAX_SKEW));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{devices::DeviceId, kernel::SeededRandom};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn claims(nonce: &str, at: Timestamp) -> Claims {
        Claims {
            device: DeviceId::new(NOW, &SeededRandom::new(1)),
            at,
            nonce: nonce.into(),
            method: "GET".into(),
            path: "/".into(),
            body: String::new(),
        }
    }

    #[test]
    fn an_assertion_is_admitted_once() {
        let mut guard = ReplayGuard::new(NOW);
        assert_eq!(guard.admit(&claims("a", NOW), NOW), Ok(()));
        assert_eq!(guard.admit(&claims("a", NOW), NOW), Err(AssertionError::Replayed));
        assert_eq!(guard.admit(&claims("b", NOW), NOW), Ok(()));
    }

    #[test]
    fn it_is_remembered_as_long_as_it_could_be_valid() {
        let mut guard = ReplayGuard::new(NOW);
        let ahead = claims("a", NOW.plus(MAX_SKEW));
        assert_eq!(guard.admit(&ahead, NOW), Ok(()));
        assert_eq!(
            guard.admit(&ahead, NOW.plus(MAX_SKEW * 2)),
            Err(AssertionError::Replayed)
        );
    }

    #[test]
    fn what_may_have_been_used_before_a_restart_is_refused() {
        let mut guard = ReplayGuard::new(NOW);
        assert_eq!(
            guard.admit(&claims("a", NOW.minus(Duration::from_secs(30))), NOW),
            Err(AssertionError::Stale)
        );
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_out_and_lets_nothing_in_twice() {
        let mut guard = ReplayGuard::new(NOW);
        let back = NOW.minus(Duration::from_secs(3_600));
        assert_eq!(guard.admit(&claims("a", NOW), NOW), Ok(()));
        assert_eq!(guard.admit(&claims("b", back), back), Ok(()));
        assert_eq!(guard.admit(&claims("b", back), back), Err(AssertionError::Replayed));
        let before = back.minus(Duration::from_secs(30));
        assert_eq!(guard.admit(&claims("c", before), back), Err(AssertionError::Stale));
        assert_eq!(guard.admit(&claims("a", NOW), NOW), Err(AssertionError::Replayed));
    }

    #[test]
    fn nothing_is_kept_for_ever() {
        let mut guard = ReplayGuard::new(NOW);
        for n in 0..1_000 {
            guard.admit(&claims(&n.to_string(), NOW), NOW).unwrap();
        }
        guard
            .admit(&claims("later", NOW.plus(MAX_SKEW * 3)), NOW.plus(MAX_SKEW * 3))
            .unwrap();
        assert_eq!((guard.seen.len(), guard.order.len()), (1, 1));
    }
}
