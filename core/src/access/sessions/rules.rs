//! How long a session lasts, and the ladder of lockouts. Pure.

use std::time::Duration;

use super::{LoginThrottle, Session, SessionView, ThrottleId};
use crate::{
    access::users::User,
    kernel::{Class, Code, Error, Timestamp},
};

/// Nobody is signed in, or what was presented proves nothing.
pub const REQUIRED: Code = Code::new("auth.required", Class::Unauthenticated);
/// The session is over.
pub const SESSION_EXPIRED: Code = Code::new("auth.session_expired", Class::Unauthenticated);
/// Name and password do not belong together, or the user may not sign in.
pub const CREDENTIALS_INVALID: Code = Code::new("auth.credentials_invalid", Class::Unauthenticated);
/// Too many failures; the error says when to come back.
pub const LOCKED: Code = Code::new("auth.locked", Class::RateLimited);
/// There is no such session, or the actor may not know of it.
pub const NOT_FOUND: Code = Code::new("session.not_found", Class::NotFound);

/// Sessions of one user; the oldest gives way.
pub(super) const MAX_PER_USER: usize = 50;
/// When a session was seen is written at most this often.
const TOUCH_EVERY: Duration = Duration::from_secs(5 * 60);

/// Failures before the first lock.
const FAILURES: u32 = 5;
const FIRST_LOCK: Duration = Duration::from_secs(60);
const LONGEST_LOCK: Duration = Duration::from_secs(60 * 60);
/// After this long without a failure the ladder begins anew.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How long sessions last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// From its beginning.
    pub(crate) lifetime: Duration,
    /// Without use.
    pub(crate) idle: Duration,
}

/// What a session is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// It is valid; `touch` when it is time to write that it was seen.
    Valid { touch: bool },
    /// It is over.
    Expired,
    /// Its user may not sign in any more, or has ended it by a new password.
    Ended,
}

/// Judges a session of `user` that was last seen at `seen`.
pub(crate) fn judge(
    session: &Session,
    user: Option<&User>,
    seen: Option<Timestamp>,
    limits: Limits,
    now: Timestamp,
) -> Validity {
    let seen = last_seen(session, seen);
    if now.since(session.created_at) >= limits.lifetime || now.since(seen) >= limits.idle {
        return Validity::Expired;
    }
    match user {
        Some(user) if !user.disabled && user.session_version == session.user_version => Validity::Valid {
            touch: now.since(seen) >= TOUCH_EVERY,
        },
        _ => Validity::Ended,
    }
}

fn last_seen(session: &Session, seen: Option<Timestamp>) -> Timestamp {
    seen.map_or(session.created_at, |seen| seen.max(session.created_at))
}

/// A session as it is shown.
pub(super) fn view(session: &Session, seen: Option<Timestamp>, limits: Limits, current: bool) -> SessionView {
    SessionView {
        id: session.id,
        user: session.user,
        created_at: session.created_at,
        last_seen_at: last_seen(session, seen),
        expires_at: session.created_at.plus(limits.lifetime),
        address: session.address.clone(),
        user_agent: session.user_agent.clone(),
        current,
    }
}

/// How long an account is still locked; none when it is not.
pub(super) fn locked(throttle: &LoginThrottle, now: Timestamp) -> Option<Duration> {
    let left = throttle.locked_until?.since(now);
    // A lock that ends further away than any lock lasts was written by a clock that ran ahead.
    (left > Duration::ZERO && left <= LONGEST_LOCK).then_some(left)
}

/// The account after one more failure: from the fifth on it is locked for a minute, then two, up to an hour.
pub(super) fn after_failure(id: ThrottleId, before: Option<&LoginThrottle>, now: Timestamp) -> LoginThrottle {
    let failures = match before {
        Some(before) if now.since(before.last_failure_at) < FORGET_AFTER => before.failures.saturating_add(1),
        _ => 1,
    };
    let lock = failures.checked_sub(FAILURES).map(|step| {
        // Six doublings of a minute pass an hour.
        (FIRST_LOCK * 2_u32.pow(step.min(6))).min(LONGEST_LOCK)
    });
    LoginThrottle {
        id,
        failures,
        last_failure_at: now,
        locked_until: lock.map(|lock| now.plus(lock)),
    }
}

/// The refusal of a locked account, which says when to come back.
pub(super) fn locked_error(left: Duration) -> Error {
    let seconds = left.as_micros().div_ceil(1_000_000);
    LOCKED
        .error(format!("too many failed attempts; try again in {seconds} seconds"))
        .with_retry_after(u64::try_from(seconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::EntityId as _;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    /// Fails again and again, each time as soon as the lock is over, and lists the locks in seconds.
    #[test]
    fn the_ladder_begins_at_the_fifth_failure_and_doubles_to_an_hour() {
        let id = ThrottleId::from_uuid(uuid::Uuid::nil());
        let (mut now, mut state, mut locks) = (NOW, None, Vec::new());
        for _ in 0..14 {
            let next = after_failure(id, state.as_ref(), now);
            let lock = locked(&next, now).unwrap_or_default();
            locks.push(lock.as_secs());
            now = now.plus(lock);
            assert_eq!(locked(&next, now), None, "a lock is over at its end");
            state = Some(next);
        }
        assert_eq!(
            locks,
            [0, 0, 0, 0, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]
        );

        let later = now.plus(FORGET_AFTER);
        assert_eq!(
            after_failure(id, state.as_ref(), later).failures,
            1,
            "a day without failure is forgiven"
        );
    }

    #[test]
    fn a_clock_that_ran_ahead_locks_nobody_out_for_years() {
        let id = ThrottleId::from_uuid(uuid::Uuid::nil());
        let mut state = after_failure(id, None, NOW);
        state.locked_until = Some(NOW.plus(Duration::from_secs(60)));
        assert!(locked(&state, NOW).is_some());
        assert_eq!(locked(&state, NOW.minus(Duration::from_secs(365 * 86_400))), None);
    }

    #[test]
    fn the_refusal_counts_whole_seconds_up() {
        let error = locked_error(Duration::from_millis(1_001));
        assert_eq!((error.code(), error.retry_after_seconds()), (LOCKED, Some(2)));
    }
}
