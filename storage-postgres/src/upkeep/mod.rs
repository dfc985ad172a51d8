//! What is done to the store as a whole: preparing, moving, trimming, forgetting, checking; and what it all has in common: a
//! connection, a transaction, another attempt when others were in the way.

mod check;
mod fill;
mod footprint;
mod indexes;
mod partitions;
mod prepare;
mod relocate;
mod views;

use std::{sync::Arc, time::Duration};

use fleet_core::store::{Error, Result, Seq, Tracking};
use futures::future::BoxFuture;
use tokio::time::sleep;

pub(crate) use self::{
    check::check,
    footprint::footprint,
    partitions::keep as keep_partitions,
    prepare::{pending, prepare},
    relocate::cease_tracking,
};
use crate::{
    PostgresStore,
    error::{Class, class, from_engine, is_certain, unknown},
    read::Lent,
    sql::{Sql, read_uint, signed},
    tables::LaneTable,
    writer::{Failure, Stands, commit},
};

/// How often something is tried before it fails.
const ATTEMPTS: u32 = 6;

/// Commits that are forgotten in one transaction.
const SLICE: u64 = 1_000;

/// Rows that are trimmed in one transaction.
const TRIM: i64 = 5_000;

/// Runs a transaction on a connection of its own, again where others were in the way. It begins and commits by itself.
pub(crate) async fn alone<T, F>(store: &PostgresStore, work: F) -> Result<T>
where
    F: for<'l> Fn(&'l mut Lent) -> BoxFuture<'l, Result<T, Failure>>,
{
    let nothing = Sql::new("SELECT 1");
    let mut attempt = 0;
    loop {
        attempt += 1;
        let (mut lent, _) = store.others().begin(&nothing).await?;
        let error = match work(&mut lent).await {
            Ok(done) => return Ok(done),
            Err(Failure::Store(error)) => return Err(error),
            Err(Failure::Engine(error)) => error,
        };
        let again = matches!(class(&error), Class::Again | Class::Taken);
        if !again || attempt >= ATTEMPTS {
            return Err(from_engine(error));
        }
        drop(lent);
        sleep(Duration::from_millis(u64::from(attempt * attempt))).await;
    }
}

/// Commits what upkeep did; a failure whose outcome is open is told as such.
pub(crate) async fn settle(lent: &mut Lent) -> Result<(), Failure> {
    match commit(lent.conn()?).await {
        Ok(()) => {
            lent.ended();
            Ok(())
        }
        Err(error) if is_certain(&error) => Err(error.into()),
        Err(error) => Err(Failure::Store(unknown(error))),
    }
}

/// Ends a transaction that was begun on a connection on loan: what went well is committed, and what did not taken back.
pub(super) async fn end<T>(mut lent: Lent, done: Result<T, Failure>) -> Result<T> {
    // A connection that is given back rolls back.
    let done = done.map_err(Error::from)?;
    settle(&mut lent).await?;
    Ok(done)
}

/// Removes the rows before a time: whole days where there are such, then slices.
pub(crate) async fn trim(store: &PostgresStore, table: &LaneTable, before: i64) -> Result<u64> {
    let mut trimmed = partitions::drop_before(store, table, before).await?;
    loop {
        let sql = table.trim.clone();
        let server = Arc::clone(store.server());
        let removed = alone(store, move |lent| {
            let (sql, server) = (sql.clone(), Arc::clone(&server));
            Box::pin(async move {
                let conn = lent.conn()?;
                check_trim(&Stands::read(&server.fixed.begin_ingests.rows(conn).await?)?)?;
                let done = sql.query().bind(before).bind(TRIM).execute(conn).await?;
                settle(lent).await?;
                Ok(done.rows_affected())
            })
        })
        .await?;
        trimmed += removed;
        // Between two slices others have their turn.
        if removed < TRIM.unsigned_abs() {
            return Ok(trimmed);
        }
    }
}

fn check_trim(stands: &Stands) -> Result<()> {
    stands.standing.phase.check_serving()?;
    if stands.tracking {
        return Err(Tracking::refuses_trim());
    }
    Ok(())
}

/// Raises the floor of the feed, then forgets what lies below it.
pub(crate) async fn compact(store: &PostgresStore, upto: Seq) -> Result<u64> {
    let server = Arc::clone(store.server());
    let forgotten = alone(store, move |lent| {
        let server = Arc::clone(&server);
        Box::pin(async move {
            let (conn, fixed) = (lent.conn()?, &server.fixed);
            let stands = Stands::read(&fixed.begin_commits.rows(conn).await?)?;
            stands.standing.phase.check_serving()?;
            let row = fixed.oldest.query().fetch_one(&mut *conn).await?;
            let floor = read_uint(&row, 1)?;
            let upto = upto.min(stands.seq);
            if upto > floor {
                fixed.set_floor.query().bind(signed(upto)).execute(conn).await?;
            }
            settle(lent).await?;
            Ok(upto.saturating_sub(floor))
        })
    })
    .await?;
    while forget(store, upto).await? {}
    Ok(forgotten)
}

/// Removes a slice of what lies below the floor, up to a place at most: batches that changed nothing since are remembered at the floor
/// itself. Says whether there may be more.
async fn forget(store: &PostgresStore, upto: Seq) -> Result<bool> {
    let server = Arc::clone(store.server());
    alone(store, move |lent| {
        let server = Arc::clone(&server);
        Box::pin(async move {
            let (conn, fixed) = (lent.conn()?, &server.fixed);
            fixed.begin_commits.rows(conn).await?;
            let row = fixed.oldest.query().fetch_one(&mut *conn).await?;
            let (last, first) = (read_uint(&row, 1)?.min(upto), read_uint(&row, 2)?);
            if first > last {
                settle(lent).await?;
                return Ok(false);
            }
            let slice = first.saturating_add(SLICE).min(last);
            fixed.forget.query().bind(signed(slice)).execute(conn).await?;
            settle(lent).await?;
            Ok(slice < last)
        })
    })
    .await
}

/// What every part of the upkeep says when a row is missing that is always there.
pub(crate) fn nowhere() -> Error {
    Error::Corrupt("the store does not say where it stands".into())
}
