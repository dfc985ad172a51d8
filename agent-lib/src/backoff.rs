//! How long to wait before the next attempt to reach the server. Pure: state and randomness in, a delay out.
//!
//! The delay is drawn evenly below a bound that doubles with each failure: the first from the floor on, the next ones from half
//! of their bound on. A fleet that lost its server at one moment must not come back at one moment; no device may try more than three
//! times in ten seconds; and however long the server was away, half a minute after its return all are back.

use std::time::Duration;

use fleet_core::kernel::{Randomness, random_bytes};

/// The bounds of the delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffLimits {
    /// No delay is shorter.
    pub floor: Duration,
    /// No delay is longer, unless the server asked for more.
    pub ceiling: Duration,
    /// The longest wait that the server may ask for.
    pub longest_hint: Duration,
}

impl Default for BackoffLimits {
    fn default() -> Self {
        Self {
            floor: Duration::from_secs(1),
            // Less than half a minute: what is left is for the connection itself.
            ceiling: Duration::from_secs(24),
            longest_hint: Duration::from_secs(3_600),
        }
    }
}

/// The state between attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    limits: BackoffLimits,
    failures: u32,
    hint: Option<Duration>,
}

impl Backoff {
    /// Before the first attempt. A ceiling below the floor counts as the floor.
    pub fn new(limits: BackoffLimits) -> Self {
        let ceiling = limits.ceiling.max(limits.floor);
        Self {
            limits: BackoffLimits { ceiling, ..limits },
            failures: 0,
            hint: None,
        }
    }

    /// The session is proved: the server has shown its identity and answered a beat. A connection that was merely accepted
    /// is no reason to hurry, since a failing server or a proxy before it accepts connections too.
    pub fn proved(&mut self) {
        self.failures = 0;
        self.hint = None;
    }

    /// The server asks not to be tried again before `wait`. Holds for the next attempt; at most
    /// [`BackoffLimits::longest_hint`].
    pub fn hint(&mut self, wait: Duration) {
        self.hint = Some(wait.min(self.limits.longest_hint));
    }

    /// An attempt has failed, or the session has ended: how long to wait before the next one.
    pub fn next_delay(&mut self, random: &dyn Randomness) -> Duration {
        let factor = 2_u32.checked_pow(self.failures.saturating_add(2)).unwrap_or(u32::MAX);
        let BackoffLimits { floor, ceiling, .. } = self.limits;
        let bound = floor
            .max(Duration::from_millis(1))
            .saturating_mul(factor)
            .clamp(floor, ceiling);
        let low = if self.failures == 0 {
            floor
        } else {
            floor.max(bound / 2)
        };
        self.failures = self.failures.saturating_add(1);
        let delay = between(low, bound, random);
        match self.hint.take() {
            None => delay,
            // All devices that were told the same come after it, and not all at once.
            Some(hint) => delay.max(between(hint, hint.saturating_add(hint / 4), random)),
        }
    }

    /// How many attempts have failed since the last proved session.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

fn between(low: Duration, high: Duration, random: &dyn Randomness) -> Duration {
    let span = u64::try_from(high.saturating_sub(low).as_micros()).unwrap_or(u64::MAX);
    // The bias of a remainder of 64 bits is far below a microsecond.
    let drawn = u64::from_le_bytes(random_bytes(random)) % span.saturating_add(1).max(1);
    low.saturating_add(Duration::from_micros(drawn))
}

#[cfg(test)]
mod tests {
    use fleet_core::kernel::SeededRandom;
    use proptest::prelude::*;

    use super::*;

    /// Gives always the same byte: all zero draws the shortest delay.
    #[derive(Debug)]
    struct Constant(u8);

    impl Randomness for Constant {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn longest_of(backoff: &Backoff, draws: u64) -> Duration {
        (0..draws)
            .map(|seed| backoff.clone().next_delay(&SeededRandom::new(seed)))
            .max()
            .unwrap()
    }

    #[test]
    fn the_bound_doubles_with_each_failure_up_to_the_ceiling() {
        let mut backoff = Backoff::new(BackoffLimits::default());
        for (least, bound) in [(1, 4), (4, 8), (8, 16), (12, 24), (12, 24)] {
            let longest = longest_of(&backoff, 300);
            assert!(longest <= seconds(bound), "{longest:?}");
            assert!(longest > seconds(bound) * 9 / 10, "{longest:?} of {bound}");
            assert_eq!(backoff.next_delay(&Constant(0)), seconds(least));
        }
    }

    #[test]
    fn no_four_attempts_lie_within_ten_seconds_however_the_delays_are_drawn() {
        let mut backoff = Backoff::new(BackoffLimits::default());
        let delays: Vec<_> = (0..20).map(|_| backoff.next_delay(&Constant(0))).collect();
        for three in delays.windows(3) {
            assert!(three.iter().sum::<Duration>() > seconds(10), "{three:?}");
        }
    }

    #[test]
    fn only_a_proved_session_resets_it() {
        let mut backoff = Backoff::new(BackoffLimits::default());
        for _ in 0..10 {
            backoff.next_delay(&Constant(0));
        }
        assert!(longest_of(&backoff, 100) > seconds(20));
        backoff.proved();
        assert_eq!(backoff.failures(), 0);
        assert!(longest_of(&backoff, 100) <= seconds(4));
    }

    #[test]
    fn a_hint_of_the_server_holds_once_and_within_reason() {
        let mut backoff = Backoff::new(BackoffLimits::default());
        backoff.hint(seconds(300));
        assert_eq!(backoff.clone().next_delay(&Constant(0)), seconds(300));
        assert!(longest_of(&backoff, 100) > seconds(350));
        assert!(longest_of(&backoff, 100) <= seconds(375));
        backoff.next_delay(&Constant(0));
        assert_eq!(backoff.next_delay(&Constant(0)), seconds(4));
        backoff.hint(Duration::MAX);
        assert_eq!(backoff.next_delay(&Constant(0)), seconds(3_600));
        backoff.hint(Duration::ZERO);
        assert_eq!(backoff.next_delay(&Constant(0)), seconds(12));
        backoff.hint(seconds(300));
        backoff.proved();
        assert_eq!(backoff.next_delay(&Constant(0)), seconds(1));
    }

    proptest! {
        #[test]
        fn every_delay_is_within_its_bounds(
            floor in 0_u64..5_000,
            ceiling in 0_u64..500_000,
            failures in 0_usize..200,
            hint in proptest::option::of(0_u64..10_000_000),
            seed: u64,
        ) {
            let limits = BackoffLimits {
                floor: Duration::from_millis(floor),
                ceiling: Duration::from_millis(ceiling),
                longest_hint: seconds(3_600),
            };
            let random = SeededRandom::new(seed);
            let mut backoff = Backoff::new(limits);
            for _ in 0..failures {
                let delay = backoff.next_delay(&random);
                prop_assert!(delay >= limits.floor);
                prop_assert!(delay <= limits.ceiling.max(limits.floor));
            }
            if let Some(hint) = hint.map(Duration::from_millis) {
                backoff.hint(hint);
                let delay = backoff.next_delay(&random);
                prop_assert!(delay >= hint.min(seconds(3_600)).max(limits.floor));
                prop_assert!(delay <= (seconds(3_600) * 5 / 4).max(limits.ceiling));
            }
        }
    }
}
