//! Leases: who may do what only one may do. The rule, for backends that store one row for each lease.

use std::time::Duration;

use uuid::Uuid;

use crate::kernel::Timestamp;

/// A lease as it is stored. The fence outlives its holders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Who has it, or had it last; none after it was given up.
    pub holder: Option<Uuid>,
    /// Its end, in microseconds since 1970; the end no longer belongs to it.
    pub until: i64,
    /// Rises with each new holder.
    pub fence: i64,
}

impl Lease {
    /// What `caller` gets who asks for `ttl` (zero gives it up): the lease afterwards, and whether it is the caller's.
    #[must_use]
    pub fn asked(self, now: Timestamp, caller: Uuid, ttl: Duration) -> (Self, bool) {
        let held = self.holder.filter(|_| now.as_micros() < self.until);
        if ttl.is_zero() {
            // Given up by whom it belongs to, lapsed or not.
            let holder = self.holder.filter(|holder| *holder != caller);
            return (Self { holder, ..self }, false);
        }
        let fence = match held {
            Some(holder) if holder == caller => self.fence,
            Some(_) => return (self, false),
            None => self.fence + 1,
        };
        let taken = Self {
            holder: Some(caller),
            until: now.plus(ttl).as_micros(),
            fence,
        };
        (taken, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One step: who, when (seconds), for how long (seconds), and the fence expected.
    #[track_caller]
    fn check(steps: &[(u128, i64, u64, Option<i64>)]) {
        let mut lease = Lease::default();
        for (n, (holder, at, ttl, expected)) in steps.iter().enumerate() {
            let now = Timestamp::from_seconds(*at);
            let (after, taken) = lease.asked(now, Uuid::from_u128(*holder), Duration::from_secs(*ttl));
            assert_eq!(taken.then_some(after.fence), *expected, "step {n}");
            lease = after;
        }
    }

    #[test]
    fn a_lease_is_kept_by_renewal_and_refused_to_others() {
        check(&[
            (1, 0, 10, Some(1)),
            (2, 5, 10, None),
            (1, 9, 10, Some(1)),
            (2, 18, 10, None),
        ]);
    }

    #[test]
    fn a_lapse_raises_the_fence_for_everyone() {
        check(&[
            (1, 0, 10, Some(1)),
            (1, 10, 10, Some(2)),
            (2, 20, 10, Some(3)),
            (1, 21, 10, None),
        ]);
    }

    #[test]
    fn only_the_holder_gives_up_and_the_fence_stays() {
        check(&[
            (1, 0, 10, Some(1)),
            (2, 1, 0, None),
            (2, 1, 10, None),
            (1, 2, 0, None),
            (1, 2, 10, Some(2)),
        ]);
        check(&[(1, 0, 0, None), (1, 0, 10, Some(1))]);
    }
}
