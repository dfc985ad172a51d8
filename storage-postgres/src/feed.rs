//! The change feed: catches up from the table in chunks, then waits until somebody says that there is more.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use fleet_core::store::{Change, Error, Key, Name, Phase, Result, Schema, Seq, Touched};
use futures::{StreamExt as _, stream, stream::BoxStream};
use sqlx::{Row as _, postgres::PgRow};
use tokio::{sync::watch, time::sleep};

use crate::{
    error::from_engine,
    read::Readers,
    sql::{read_uint, signed},
    store::Shared,
    tables::Tables,
    writer::read_standing,
};

/// The type of an entry that names a stream; 0 is a document that was written, 1 one that was removed.
pub(crate) const STREAM: i64 = 2;

/// Entries that are read at once.
const CHUNK: i64 = 1_000;

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
    /// Whether the store was frozen at the last look: then what was there is all that will ever be.
    frozen: bool,
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
        frozen: false,
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
            let newest = *self.newest.borrow_and_update();
            if newest > self.seq || self.within.is_some() || !self.looked {
                if let Err(error) = self.read().await {
                    if self.shared.is_closed() {
                        return None;
                    }
                    self.over = true;
                    return Some(Err(error));
                }
                if newest > self.seq && self.ready.is_empty() && self.within.is_none() {
                    // The store began anew; where it stands now is about to be found out.
                    sleep(Duration::from_millis(20)).await;
                }
                continue;
            }
            if self.frozen {
                return None;
            }
            tokio::select! {
                changed = self.newest.changed() => match changed {
                    // The news may be that the store was frozen, which no place tells.
                    Ok(()) => self.looked = false,
                    Err(_) => return None,
                },
                () = self.shared.until_closed() => return None,
            }
        }
    }

    /// Reads the next chunk from one moment of the store.
    async fn read(&mut self) -> Result<()> {
        self.looked = true;
        let fixed = &self.readers.server().fixed;
        let (mut lent, rows) = self.readers.begin(&fixed.begin_feed).await?;
        let row = rows
            .first()
            .ok_or_else(|| Error::Corrupt("the store does not say where it stands".into()))?;
        let (newest, floor) = (
            read_uint(row, 0).map_err(from_engine)?,
            read_uint(row, 1).map_err(from_engine)?,
        );
        let standing: String = row.try_get(2).map_err(from_engine)?;
        self.frozen = matches!(read_standing(&standing)?.phase, Phase::Frozen(_));
        if floor > self.seq {
            return Err(Error::Compacted(floor));
        }
        if newest <= self.seq && self.within.is_none() {
            return Ok(());
        }
        let (seq, n) = self.within.unwrap_or((self.seq, i64::MAX));
        let entries = fixed.read_feed.query().bind(signed(seq)).bind(n).bind(CHUNK);
        let rows = entries.fetch_all(lent.conn()?).await.map_err(from_engine)?;
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

fn entry(row: &PgRow, schema: &Schema) -> Result<Change> {
    let damaged = |name: &str| Error::Corrupt(format!("the feed names {name}, which is not declared"));
    let read = || -> Result<_, sqlx::Error> {
        let (seq, r#type): (_, i64) = (read_uint(row, 0)?, row.try_get(2)?);
        let (name, id): (String, _) = (row.try_get(3)?, row.try_get(4)?);
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
