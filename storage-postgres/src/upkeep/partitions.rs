//! Partitions of lanes by day: made ahead of time, taken away whole.
//!
//! Rows go where they belong without anybody's help: to the partition of their day where there is one, and to the one for the
//! rest otherwise, however far off a sender's clock is. So making partitions may fail and be tried later; what the one for the
//! rest holds of a day moves when its partition is made.

use std::{sync::Arc, time::Duration};

use fleet_core::{
    kernel::Timestamp,
    store::{Error, Result},
};
use sqlx::{Row as _, postgres::PgConnection};
use tokio::time::{MissedTickBehavior, interval};

use super::{alone, check_trim, settle};
use crate::{
    PostgresStore,
    error::from_engine,
    options::LeaseClock,
    server::Server,
    sql::{Sql, Table, literal},
    store::Shared,
    tables::{Fixed, LaneTable, Tables},
    writer::Stands,
};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// So many days have their partitions before they begin.
const AHEAD: i64 = 3;

/// Between two looks at whether a day has to be made.
const LOOK: Duration = Duration::from_secs(600);

/// The day of a time, counted from 1970.
fn day_of(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(DAY)
}

/// A partition's part of the name, and back. Years 1 to 9999, as [`Timestamp`] has them.
fn name_of(day: i64) -> String {
    Timestamp::from_micros(day.saturating_mul(DAY))
        .to_string()
        .chars()
        .take(10)
        .collect()
}

fn day_named(name: &str) -> Option<i64> {
    let at: Timestamp = format!("{name}T00:00:00Z").parse().ok()?;
    Some(day_of(at))
}

/// `name` of the partitions of a lane.
fn list() -> Sql {
    Sql::new(
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace s ON s.oid = p.relnamespace \
         WHERE s.nspname = $1 AND p.relname = $2",
    )
}

/// The days that have partitions.
async fn days(conn: &mut PgConnection, fixed: &Fixed, table: &LaneTable) -> Result<Vec<i64>, sqlx::Error> {
    let list = list().query().bind(fixed.namespace.bare().to_owned());
    let rows = list.bind(table.table.name.bare().to_owned()).fetch_all(conn).await?;
    let mut days = Vec::new();
    for row in rows {
        let name: String = row.try_get(0)?;
        days.extend(name.rsplit('.').next().and_then(day_named));
    }
    Ok(days)
}

fn partition(fixed: &Fixed, table: &LaneTable, day: i64) -> Table {
    Table::new(&fixed.namespace, &["part", table.lane.name, &name_of(day)])
}

/// What makes the partition of a day, within a transaction that keeps everybody out.
fn make(fixed: &Fixed, table: &LaneTable, day: i64) -> Option<Sql> {
    let rest = table.rest.as_ref()?;
    let (from, to) = (day.checked_mul(DAY)?, (day + 1).checked_mul(DAY)?);
    let (part, parent) = (partition(fixed, table, day), &table.table);
    Some(Sql::new(format!(
        "CREATE TABLE {part} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS); \
         WITH moved AS (DELETE FROM {rest} WHERE at >= {from} AND at < {to} RETURNING *) INSERT INTO {part} SELECT * FROM moved; \
         ALTER TABLE {parent} ATTACH PARTITION {part} FOR VALUES FROM ({from}) TO ({to})"
    )))
}

/// The partitions of the coming days of a new lane, made with it.
pub(super) fn first_days(fixed: &Fixed, table: &LaneTable, now: Timestamp) -> Vec<Sql> {
    let today = day_of(now);
    (today..today + AHEAD)
        .filter_map(|day| {
            let (from, to) = (day.checked_mul(DAY)?, (day + 1).checked_mul(DAY)?);
            table.rest.as_ref()?;
            let part = partition(fixed, table, day);
            Some(Sql::new(format!(
                "CREATE TABLE {part} PARTITION OF {} FOR VALUES FROM ({from}) TO ({to})",
                table.table
            )))
        })
        .collect()
}

/// The time by which days are made.
pub(super) async fn now(conn: &mut PgConnection, fixed: &Fixed, clock: &LeaseClock) -> Result<Timestamp, sqlx::Error> {
    match clock {
        LeaseClock::Given(clock) => Ok(clock.now()),
        LeaseClock::Database => {
            let rows = fixed.now.rows(conn).await?;
            let micros = match rows.first() {
                Some(row) => row.try_get(0)?,
                None => 0,
            };
            Ok(Timestamp::from_micros(micros))
        }
    }
}

/// Makes the partitions of the coming days, again and again. Ends when the store is closed.
pub(crate) async fn keep(server: Arc<Server>, shared: Arc<Shared>, clock: LeaseClock) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, and what is prepared has its first days.
    ticks.tick().await;
    loop {
        tokio::select! {
            () = shared.until_closed() => return,
            _ = ticks.tick() => {
                let Ok(tables) = shared.tables() else { continue };
                if let Err(error) = make_ahead(&server, &tables, &clock).await {
                    tracing::warn!(%error, "partitions of the coming days are made later");
                }
            }
        }
    }
}

async fn make_ahead(server: &Server, tables: &Tables, clock: &LeaseClock) -> Result<()> {
    let mut conn = server.connect().await?;
    let today = day_of(now(&mut conn, &server.fixed, clock).await.map_err(from_engine)?);
    for table in tables.lanes.values().filter(|table| !table.lane.chained) {
        server.fixed.begin.run(&mut conn).await.map_err(from_engine)?;
        let there = days(&mut conn, &server.fixed, table).await.map_err(from_engine)?;
        literal(&mut conn, "ROLLBACK").await.map_err(from_engine)?;
        for day in (today..today + AHEAD).filter(|day| !there.contains(day)) {
            if let Some(sql) = make(&server.fixed, table, day) {
                change_shape(&mut conn, &server.fixed, &sql)
                    .await
                    .map_err(from_engine)?;
            }
        }
    }
    Ok(())
}

/// Changes partitions while nobody reads or writes; gives up soon where somebody does for long.
async fn change_shape(conn: &mut PgConnection, fixed: &Fixed, sql: &Sql) -> Result<(), sqlx::Error> {
    let done = fixed.begin.then(&fixed.shut).then(sql).run(conn).await;
    match done {
        Ok(()) => literal(conn, "COMMIT").await,
        Err(error) => {
            literal(conn, "ROLLBACK").await?;
            Err(error)
        }
    }
}

/// Takes away the partitions of days that end before a time; returns how many rows they held. Where somebody reads for long it
/// takes none, and the rows go in slices.
pub(super) async fn drop_before(store: &PostgresStore, table: &LaneTable, before: i64) -> Result<u64> {
    let server = store.server();
    let fixed = &server.fixed;
    let (mut lent, _) = store.others().begin(&fixed.begin).await?;
    let there = days(lent.conn()?, fixed, table).await.map_err(from_engine)?;
    drop(lent);
    let mut dropped = 0;
    let mut old: Vec<i64> = there
        .into_iter()
        .filter(|day| (day + 1).checked_mul(DAY).is_some_and(|end| end <= before))
        .collect();
    old.sort_unstable();
    for day in old {
        let (part, parent) = (partition(fixed, table, day), table.table.clone());
        let here = Arc::clone(server);
        let taken = alone(store, move |lent| {
            let server = Arc::clone(&here);
            let count = Sql::new(format!("SELECT count(*) FROM {part}"));
            let away = Sql::new(format!(
                "ALTER TABLE {parent} DETACH PARTITION {part}; DROP TABLE {part}"
            ));
            Box::pin(async move {
                let conn = lent.conn()?;
                let fixed = &server.fixed;
                // Counted before others are kept out: that may take a while.
                fixed.begin.run(conn).await?;
                let rows: i64 = count.query().fetch_one(&mut *conn).await?.try_get(0)?;
                let stands = fixed.shut.then(&fixed.stands).rows(conn).await?;
                check_trim(&Stands::read(&stands)?)?;
                away.run(conn).await?;
                settle(lent).await?;
                Ok(u64::try_from(rows).unwrap_or(0))
            })
        })
        .await;
        match taken {
            Ok(rows) => dropped += rows,
            // Somebody reads: the slices take its rows, and another trim the partition.
            Err(Error::Unavailable(cause)) => {
                tracing::debug!(%cause, "a day is trimmed in slices");
                return Ok(dropped);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_named_and_read_back() {
        for day in [-1, 0, 1, 20_778, 2_000_000] {
            assert_eq!(day_named(&name_of(day)), Some(day));
        }
        assert_eq!(name_of(0), "1970-01-01");
        assert_eq!(day_named("rest"), None);
    }
}
