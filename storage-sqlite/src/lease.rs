//! Leases: who may do what only one may do.

use std::time::Duration;

use fleet_core::{
    kernel::Timestamp,
    store::{Lease, Result},
};
use sqlx::Row as _;
use uuid::Uuid;

use crate::{
    sql::{literal, read_id},
    writer::{Failure, Writer},
};

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
    let (after, taken) = before.asked(now, holder, ttl);
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
