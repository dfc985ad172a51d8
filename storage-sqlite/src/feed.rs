//! The change feed: catches up from the table in chunks, then waits for the writer to say that there is more.

use std::{collections::VecDeque, sync::Arc};

use fleet_core::store::{Change, Error, Key, Name, Result, Schema, Seq, Touched};
use futures::{StreamExt as _, stream, stream::BoxStream};
use sqlx::{Row as _, sqlite::SqliteRow};
use tokio::sync::watch;

use crate::{
    error::from_engine,
    read::Readers,
    sql::{literal, read_id, read_uint},
    store::Shared,
    tables::Tables,
    writer::{Failure, Writer},
};

/// The type of an entry that names a stream; 0 is a document that was written, 1 one that was removed.
pub(crate) const STREAM: i64 = 2;

/// Entries that are read at once.
const CHUNK: i64 = 1_000;

/// Commits that are forgotten in one transaction.
const SLICE: u64 = 1_000;

/// Where a follower stands: all of the commits up to `seq`, and so many entries of the next that has any.
struct Follower {
    readers: Arc<Readers>,
    tables: Arc<Tables>,
    shared: Arc<Shared>,
    newest: watch::Receiver<Seq>,
    seq: Seq,
    /// The commit that is partly read, and the number of its last entry that was.
    within: Option<(Seq, i64)>,
    ready: VecDeque<Change>,
    /// Whether the table was looked at: at the first look the feed may turn out not to reach back.
    looked: bool,
    over: bool,
}

/// Follows the feed after `after`.
pub(crate) fn changes(
    readers: Arc<Readers>,
    tables: Arc<Tables>,
    shared: Arc<Shared>,
    after: Seq,
) -> BoxStream<'static, Result<Change>> {
    let follower = Follower {
        readers,
        tables,
        newest: shared.newest.subscribe(),
        shared,
        seq: after,
        within: None,
        ready: VecDeque::new(),
        looked: false,
        over: false,
    };
    stream::unfold(follower, |mut follower| async {
        let item = follower.next().await?;
        Some((item, follower))
    })
    .boxed()
}

impl Follower {
    async fn next(&mut self) -> Option<Result<Change>> {
        loop {
            if self.over || self.shared.is_closed() {
                return None;
            }
            if let Some(change) = self.ready.pop_front() {
                return Some(Ok(change));
            }
            // Asked before the newest place: what a frozen store holds by then is all that it ever will.
            let frozen = self.shared.is_frozen();
            let newest = *self.newest.borrow_and_update();
            if newest > self.seq || self.within.is_some() || !self.looked {
                if let Err(error) = self.read().await {
                    if self.shared.is_closed() {
                        return None;
                    }
                    self.over = true;
                    return Some(Err(error));
                }
                continue;
            }
            if frozen {
                return None;
            }
            tokio::select! {
                changed = self.newest.changed() => if changed.is_err() {
                    return None;
                },
                () = self.shared.until_closed() => return None,
            }
        }
    }

    /// Reads the next chunk from one moment of the store.
    async fn read(&mut self) -> Result<()> {
        self.looked = true;
        let mut lent = self.readers.begin().await?;
        let conn = lent.conn()?;
        let row = literal(
            "SELECT (SELECT value FROM meta WHERE name = 'seq'), (SELECT value FROM meta WHERE name = 'floor')",
        )
        .fetch_one(&mut *conn)
        .await
        .map_err(from_engine)?;
        let (newest, floor) = (
            read_uint(&row, 0).map_err(from_engine)?,
            read_uint(&row, 1).map_err(from_engine)?,
        );
        if floor > self.seq {
            return Err(Error::Compacted(floor));
        }
        if newest <= self.seq {
            return Ok(());
        }
        let (seq, n) = self.within.unwrap_or((self.seq, i64::from(u32::MAX)));
        let rows = literal(
            "SELECT f.seq, f.n, f.type, f.name, f.id, f.rev FROM feed f WHERE (f.seq, f.n) > (?1, ?2) \
             ORDER BY f.seq, f.n LIMIT ?3",
        )
        .bind(i64::try_from(seq).unwrap_or(i64::MAX))
        .bind(n)
        .bind(CHUNK)
        .fetch_all(&mut *conn)
        .await
        .map_err(from_engine)?;
        for row in &rows {
            let change = entry(row, &self.tables.schema)?;
            self.ready.push_back(change);
        }
        match rows.last() {
            // There may be more of the last commit.
            Some(last) if rows.len() as i64 == CHUNK => {
                let seq = read_uint(last, 0).map_err(from_engine)?;
                self.within = Some((seq, last.try_get(1).map_err(from_engine)?));
                self.seq = seq.saturating_sub(1);
            }
            _ => {
                self.within = None;
                self.seq = newest;
            }
        }
        Ok(())
    }
}

fn entry(row: &SqliteRow, schema: &Schema) -> Result<Change> {
    let damaged = |name: &str| Error::Corrupt(format!("the feed names {name}, which is not declared"));
    let read = || -> Result<_, sqlx::Error> {
        let (seq, r#type): (_, i64) = (read_uint(row, 0)?, row.try_get(2)?);
        let (name, id): (String, _) = (row.try_get(3)?, read_id(row, 4)?);
        let rev = if r#type == STREAM { 0 } else { read_uint(row, 5)? };
        Ok((seq, r#type, name, id, rev))
    };
    let (seq, r#type, name, id, rev) = read().map_err(from_engine)?;
    let touched = if r#type == STREAM {
        let lane: Name = schema.lane(&name).map_err(|_| damaged(&name))?.name;
        Touched::Stream { lane, stream: id }
    } else {
        let kind: Name = schema.kind(&name).map_err(|_| damaged(&name))?.name;
        Touched::Document {
            key: Key::new(kind, id),
            rev,
            deleted: r#type == 1,
        }
    };
    Ok(Change { seq, touched })
}

/// Moves the floor of the feed; returns how many places are newly below it.
pub(crate) async fn raise_floor(writer: &mut Writer, upto: Seq) -> Result<u64> {
    // It may have waited in the queue behind a freezing.
    writer.shared().check_serving()?;
    let upto = upto.min(writer.seq());
    writer.begin().await?;
    let result = set_floor(writer, upto).await;
    writer.end(result).await
}

async fn set_floor(writer: &mut Writer, upto: Seq) -> Result<u64, Failure> {
    let row = literal("SELECT value FROM meta WHERE name = 'floor'")
        .fetch_one(writer.conn())
        .await?;
    let floor = read_uint(&row, 0)?;
    if upto > floor {
        literal("UPDATE meta SET value = ?1 WHERE name = 'floor'")
            .bind(i64::try_from(upto).unwrap_or(i64::MAX))
            .execute(writer.conn())
            .await?;
    }
    Ok(upto.saturating_sub(floor))
}

/// Removes a slice of what lies below the floor, up to a place at most: batches that changed nothing since are remembered at the floor
/// itself. Says whether there may be more.
pub(crate) async fn forget(writer: &mut Writer, upto: Seq) -> Result<bool> {
    writer.begin().await?;
    let result = forget_slice(writer, upto).await;
    writer.end(result).await
}

async fn forget_slice(writer: &mut Writer, upto: Seq) -> Result<bool, Failure> {
    let row = literal(
        "SELECT (SELECT value FROM meta WHERE name = 'floor'), \
         min(coalesce((SELECT min(seq) FROM feed), 9223372036854775807), \
             coalesce((SELECT min(seq) FROM batches), 9223372036854775807))",
    )
    .fetch_one(writer.conn())
    .await?;
    let (last, first) = (read_uint(&row, 0)?.min(upto), read_uint(&row, 1)?);
    if first > last {
        return Ok(false);
    }
    let slice = first.saturating_add(SLICE).min(last);
    for statement in [
        literal("DELETE FROM feed WHERE seq <= ?1"),
        literal("DELETE FROM batches WHERE seq <= ?1"),
    ] {
        let bound = i64::try_from(slice).unwrap_or(i64::MAX);
        statement.bind(bound).execute(writer.conn()).await?;
    }
    Ok(slice < last)
}
