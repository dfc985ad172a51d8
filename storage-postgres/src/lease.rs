//! Leases, each in a transaction of its own.

use std::time::Duration;

use fleet_core::{
    kernel::Timestamp,
    store::{Lease, Result},
};
use sqlx::Row as _;
use uuid::Uuid;

use crate::{
    options::LeaseClock,
    read::Lent,
    tables::Fixed,
    upkeep::settle,
    writer::{Failure, Stands},
};

/// Takes, renews or gives up a lease.
pub(crate) async fn lease(
    lent: &mut Lent,
    fixed: &Fixed,
    clock: &LeaseClock,
    name: &str,
    holder: Uuid,
    ttl: Duration,
) -> Result<Option<u64>, Failure> {
    let conn = lent.conn()?;
    let stands = Stands::read(&fixed.begin_ingests.rows(conn).await?)?;
    stands.standing.phase.check_serving()?;
    fixed.make_lease.query().bind(name).execute(&mut *conn).await?;
    let row = fixed.lock_lease.query().bind(name).fetch_one(&mut *conn).await?;
    let before = Lease {
        holder: row.try_get(0)?,
        until: row.try_get(1)?,
        fence: row.try_get(2)?,
    };
    // Under the lock: the time is that of the decision, however long the wait for it was.
    let now = match clock {
        LeaseClock::Given(clock) => clock.now(),
        LeaseClock::Database => {
            let row = fixed.now.query().fetch_one(&mut *conn).await?;
            Timestamp::from_micros(row.try_get(0)?)
        }
    };
    let (after, taken) = before.asked(now, holder, ttl);
    if after != before {
        let set = fixed.set_lease.query().bind(name).bind(after.holder).bind(after.until);
        set.bind(after.fence).execute(&mut *conn).await?;
    }
    settle(lent).await?;
    Ok(taken.then(|| u64::try_from(after.fence).unwrap_or(0)))
}
