//! What one server takes on at once, and how often one address may try.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fleet_core::kernel::{Clock, Timestamp};

use crate::{
    codes,
    problem::{ApiError, ApiResult},
};

/// Bounds of the stack of [`crate::router()`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a body, where the route says nothing else.
    pub body: usize,
    /// The longest that an ordinary request may take.
    pub request: Duration,
    /// Ordinary requests at once; one more is answered with 503.
    pub concurrent: usize,
    /// Requests at once to routes that wait on purpose: streams until they begin, long polls until they end.
    pub concurrent_waiting: usize,
    /// The longest that a part of the server may take to say whether it is ready.
    pub readiness: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 1024 * 1024,
            request: Duration::from_secs(30),
            concurrent: 512,
            concurrent_waiting: 32 * 1024,
            readiness: Duration::from_secs(5),
        }
    }
}

/// A class of routes that share one allowance: a bucket of `burst` tries that fills by one every `every`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateClass {
    /// Names the class; two classes of one name share a bucket.
    pub name: &'static str,
    /// Tries at once; at least 1.
    pub burst: u32,
    /// The time that one more try takes to come.
    pub every: Duration,
}

/// Token buckets by route class and client address, in a table of bounded length: when it is full, the bucket that was not
/// used for longest is forgotten, which gives its address a full one.
///
/// An IPv6 address stands for its /64, which is what one customer gets.
#[derive(Debug)]
pub struct RateLimiter {
    clock: Arc<dyn Clock>,
    capacity: usize,
    table: Mutex<Table>,
}

type Key = (&'static str, Option<IpAddr>);

#[derive(Debug, Default)]
struct Table {
    buckets: HashMap<Key, Bucket>,
    /// The buckets by their last use, oldest first.
    by_use: BTreeMap<u64, Key>,
    uses: u64,
}

/// A token bucket as one number (generic cell rate algorithm): when it will be full again.
#[derive(Debug)]
struct Bucket {
    full_at: Timestamp,
    last_use: u64,
}

impl RateLimiter {
    /// A limiter that remembers at most `capacity` buckets (at least 1; a bucket takes about 150 bytes).
    pub fn new(clock: Arc<dyn Clock>, capacity: usize) -> Self {
        Self {
            clock,
            capacity: capacity.max(1),
            table: Mutex::default(),
        }
    }

    /// Takes one try, or refuses with 429 and the time to wait. Callers without an address share one bucket.
    pub fn take(&self, class: RateClass, address: Option<IpAddr>) -> ApiResult<()> {
        let now = self.clock.now();
        let key = (class.name, address.map(subject));
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Table { buckets, by_use, uses } = &mut *table;
        *uses += 1;

        if !buckets.contains_key(&key)
            && buckets.len() >= self.capacity
            && let Some((_, oldest)) = by_use.pop_first()
        {
            buckets.remove(&oldest);
        }
        let bucket = buckets.entry(key).or_insert(Bucket {
            full_at: now,
            last_use: *uses,
        });
        by_use.remove(&bucket.last_use);
        by_use.insert(*uses, key);
        bucket.last_use = *uses;

        let depth = class.every.saturating_mul(class.burst.max(1));
        // A clock that went back must not lock anybody out for longer than an empty bucket takes to fill.
        let full_at = bucket.full_at.max(now).min(now.plus(depth));
        let taken = full_at.plus(class.every);
        let latest = now.plus(depth);
        if taken > latest {
            bucket.full_at = full_at;
            return Err(ApiError::new(
                codes::RATE_LIMITED,
                "too many requests from this address; wait and try again",
            )
            .retry_after(taken.since(latest)));
        }
        bucket.full_at = taken;
        Ok(())
    }
}

fn subject(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use axum::{http::header, response::IntoResponse};
    use fleet_core::kernel::ManualClock;

    use super::*;

    const LOGIN: RateClass = RateClass {
        name: "login",
        burst: 3,
        every: Duration::from_secs(10),
    };

    fn limiter(capacity: usize) -> (Arc<ManualClock>, RateLimiter) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000_000)));
        (clock.clone(), RateLimiter::new(clock, capacity))
    }

    /// How many of ten tries are let through.
    fn tries(limiter: &RateLimiter, class: RateClass, address: &str) -> usize {
        let address = address.parse().unwrap();
        (0..10).filter(|_| limiter.take(class, Some(address)).is_ok()).count()
    }

    #[test]
    fn a_burst_is_let_through_and_then_one_at_a_time() {
        let (clock, limiter) = limiter(10);
        assert_eq!(tries(&limiter, LOGIN, "192.0.2.1"), 3);
        clock.advance(Duration::from_secs(9));
        assert_eq!(tries(&limiter, LOGIN, "192.0.2.1"), 0);
        clock.advance(Duration::from_secs(1));
        assert_eq!(tries(&limiter, LOGIN, "192.0.2.1"), 1);
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(tries(&limiter, LOGIN, "192.0.2.1"), 3);
    }

    #[test]
    fn a_refusal_says_how_long_to_wait() {
        let (clock, limiter) = limiter(10);
        tries(&limiter, LOGIN, "192.0.2.1");
        clock.advance(Duration::from_millis(2_500));
        let refused = limiter
            .take(LOGIN, Some("192.0.2.1".parse().unwrap()))
            .unwrap_err()
            .into_response();
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()[header::RETRY_AFTER], "8");
    }

    #[test]
    fn addresses_and_classes_do_not_share_but_a_customer_network_does() {
        let (_, limiter) = limiter(10);
        assert_eq!(tries(&limiter, LOGIN, "192.0.2.1"), 3);
        assert_eq!(tries(&limiter, LOGIN, "::ffff:192.0.2.1"), 0);
        assert_eq!(tries(&limiter, LOGIN, "192.0.2.2"), 3);
        assert_eq!(tries(&limiter, RateClass { name: "enrol", ..LOGIN }, "192.0.2.1"), 3);
        assert_eq!(tries(&limiter, LOGIN, "2001:db8:0:1::1"), 3);
        assert_eq!(tries(&limiter, LOGIN, "2001:db8:0:1:ffff::2"), 0);
        assert_eq!(tries(&limiter, LOGIN, "2001:db8:0:2::1"), 3);
        assert_eq!((0..10).filter(|_| limiter.take(LOGIN, None).is_ok()).count(), 3);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_least_recently_used() {
        let (_, limiter) = limiter(2);
        tries(&limiter, LOGIN, "192.0.2.1");
        tries(&limiter, LOGIN, "192.0.2.2");
        assert_eq!(tries(&limiter, LOGIN, "192.0.2.1"), 0);
        assert_eq!(tries(&limiter, LOGIN, "192.0.2.3"), 3);
        assert_eq!(tries(&limiter, LOGIN, "192.0.2.1"), 0);
        assert_eq!(tries(&limiter, LOGIN, "192.0.2.2"), 3);
        let table = limiter.table.lock().unwrap();
        assert_eq!((table.buckets.len(), table.by_use.len()), (2, 2));
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_out() {
        let (clock, limiter) = limiter(10);
        tries(&limiter, LOGIN, "192.0.2.1");
        clock.set(Timestamp::from_seconds(1_000));
        assert_eq!(tries(&limiter, LOGIN, "192.0.2.1"), 0);
        clock.advance(Duration::from_secs(30));
        assert_eq!(tries(&limiter, LOGIN, "192.0.2.1"), 3);
    }
}
