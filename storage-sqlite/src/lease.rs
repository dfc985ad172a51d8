//! Leases: who may do what only one may do.

use std::time::Duration;

use fleet_core::{kernel::Timestamp, store::Result};
use sqlx::Row as _;
use uuid::Uuid;

use crate::{
    sql::{literal, read_id},
    writer::{Failure, Writer},
};

/// A lease as it is stored. The fence outlives its holders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lease {
    holder: Option<Uuid>,
    until: i64,
    fence: i64,
}

/// The lease afterwards, and whether it is the caller's. Its end no longer belongs to it.
fn decide(lease: Lease, now: Timestamp, caller: Uuid, ttl: Duration) -> (Lease, bool) {
    let held = lease.holder.filter(|_| now.as_micros() < lease.until);
    if ttl.is_zero() {
        // Given up by whom it belongs to, lapsed or not.
        let holder = lease.holder.filter(|holder| *holder != caller);
        return (Lease { holder, ..lease }, false);
    }
    let fence = match held {
        Some(holder) if holder == caller => lease.fence,
        Some(_) => return (lease, false),
        None => lease.fence + 1,
    };
    let taken = Lease {
        holder: Some(caller),
        until: now.plus(ttl).as_micros(),
        fence,
    };
    (taken, true)
}

/// Takes, renews or gives up a lease in a transaction of its own.
pub(crate) async fn lease(
    writer: &mut Writer,
    name: &str,
    holder: Uuid,
    now: Timestamp,
    ttl: Duration,
) -> Result<Option<u64>> {
    // It may have waited in the queue behind a freezing.
    writer.shared().check_serving()?;
    writer.begin().await?;
    let result = change(writer, name, holder, now, ttl).await;
    writer.end(result).await
}

async fn change(
    writer: &mut Writer,
    name: &str,
    holder: Uuid,
    now: Timestamp,
    ttl: Duration,
) -> Result<Option<u64>, Failure> {
    let row = literal("SELECT holder, until, fence FROM leases WHERE name = ?1")
        .bind(name.to_owned())
        .fetch_optional(writer.conn())
        .await?;
    let before = match &row {
        None => Lease::default(),
        Some(row) => Lease {
            holder: match row.try_get::<Option<&[u8]>, _>(0)? {
                None => None,
                Some(_) => Some(read_id(row, 0)?),
            },
            until: row.try_get(1)?,
            fence: row.try_get(2)?,
        },
    };
    let (after, taken) = decide(before, now, holder, ttl);
    if after != before {
        literal(
            "INSERT INTO leases (name, holder, until, fence) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) \
             DO UPDATE SET holder = excluded.holder, until = excluded.until, fence = excluded.fence",
        )
        .bind(name.to_owned())
        .bind(after.holder.map(|holder| holder.as_bytes().to_vec()))
        .bind(after.until)
        .bind(after.fence)
        .execute(writer.conn())
        .await?;
    }
    Ok(taken.then(|| u64::try_from(after.fence).unwrap_or(0)))
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
            let (after, taken) = decide(lease, now, Uuid::from_u128(*holder), Duration::from_secs(*ttl));
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
