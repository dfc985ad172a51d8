//! When to look, and what is due. Pure.

use std::time::Duration;

use crate::kernel::Timestamp;

use super::JobState;

/// A lease outlives this many looks, so that one slow look does not hand the job to somebody else.
const LEASE_LOOKS: u32 = 3;
/// The shortest lease.
const LEASE_LEAST: Duration = Duration::from_secs(30);
/// Jobs that come round this seldom remember when they are due; it is also the longest time between two looks.
const SELDOM: Duration = Duration::from_secs(60);
/// A job that failed is tried again after this long, unless it is due before.
const RETRY: Duration = Duration::from_secs(5 * 60);

/// The rhythm of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rhythm {
    every: Duration,
}

impl Rhythm {
    pub(super) fn new(every: Duration) -> Self {
        Self { every }
    }

    /// Whether the job remembers when it is due.
    pub(super) fn remembers(self) -> bool {
        self.every >= SELDOM
    }

    /// The time until the next look, which `random` moves by up to a tenth either way.
    pub(super) fn look(self, random: u8) -> Duration {
        jittered(self.every.min(SELDOM), random)
    }

    /// How long the lease is taken for.
    pub(super) fn lease(self) -> Duration {
        (self.every.min(SELDOM) * LEASE_LOOKS).max(LEASE_LEAST)
    }

    /// Whether it is due. One that never ran is. So is one whose due time lies further ahead than its own rhythm: the clock went
    /// back, or the job comes round more often now.
    pub(super) fn is_due(self, state: Option<&JobState>, now: Timestamp) -> bool {
        state.is_none_or(|state| now >= state.due_at || state.due_at > now.plus(self.every * 2))
    }

    /// When it is due next.
    pub(super) fn next(self, now: Timestamp, failed: bool, random: u8) -> Timestamp {
        let rest = if failed { self.every.min(RETRY) } else { self.every };
        now.plus(jittered(rest, random))
    }
}

/// Up to a tenth more or less than `every`.
fn jittered(every: Duration, random: u8) -> Duration {
    every.mul_f64(0.9 + f64::from(random) / 255.0 * 0.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    #[track_caller]
    fn check_due(due: Option<i64>, now: i64, expected: bool) {
        let state = due.map(|due| JobState {
            name: "a".into(),
            due_at: at(due),
            ran_at: at(0),
            error: None,
        });
        let due = Rhythm::new(HOUR).is_due(state.as_ref(), at(now));
        assert_eq!(due, expected, "{state:?} at {now}");
    }

    #[test]
    fn an_hourly_job_is_due_at_its_time_and_after_clocks_that_went_back() {
        check_due(None, 0, true);
        check_due(Some(10), 9, false);
        check_due(Some(10), 10, true);
        check_due(Some(10), 500_000, true);
        check_due(Some(3_600), -3_599, false);
        check_due(Some(3_600), -3_601, true);
    }

    #[test]
    fn rhythms() {
        let (short, hourly) = (Rhythm::new(Duration::from_secs(5)), Rhythm::new(HOUR));
        assert!(!short.remembers() && hourly.remembers());
        assert_eq!(
            (short.look(0), short.look(255)),
            (Duration::from_millis(4_500), Duration::from_millis(5_500))
        );
        assert_eq!(hourly.look(0), Duration::from_secs(54));
        assert_eq!((short.lease(), hourly.lease()), (LEASE_LEAST, Duration::from_secs(180)));
        assert_eq!(hourly.next(at(0), false, 0), at(3_240));
        assert_eq!(hourly.next(at(0), true, 0), at(270));
    }
}
