//! The change feed: catches up from the history in chunks, then waits until somebody says that there is more.
//!
//! The entries of a batch stand in its row of the history, one behind the other: the type (a byte: 0 a document that was written,
//! 1 one that was removed, 2 a stream), the name (a byte for its length, then the name), the id (16 bytes) and the revision
//! (8 bytes, the greatest first; 0 for a stream).

use std::{collections::VecDeque, sync::Arc, time::Duration};

use fleet_core::store::{Change, Error, Key, Phase, Result, Schema, Seq, Touched};
use futures::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use sqlx::Row as _;
use tokio::{sync::watch, time::sleep};
use uuid::Uuid;

use crate::{
    error::from_engine,
    read::Readers,
    sql::{read_uint, signed},
    store::Shared,
    tables::Tables,
    writer::read_standing,
};

/// The types of entries.
const WRITTEN: u8 = 0;
const REMOVED: u8 = 1;
const STREAM: u8 = 2;

/// Commits that are read at once, and entries after which no further one is.
const CHUNK: i64 = 250;
const ENTRIES: usize = 1_000;

/// Where a follower stands: all of the commits up to `seq`.
struct Follower {
    readers: Arc<Readers>,
    tables: Arc<Tables>,
    shared: Arc<Shared>,
    newest: watch::Receiver<Seq>,
    seq: Seq,
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
            if newest > self.seq || !self.looked {
                if let Err(error) = self.read().await {
                    if self.shared.is_closed() {
                        return None;
                    }
                    self.over = true;
                    return Some(Err(error));
                }
                if newest > self.seq && self.ready.is_empty() {
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
        if newest <= self.seq {
            return Ok(());
        }
        let commits = fixed.read_feed.query().bind(signed(self.seq)).bind(CHUNK);
        let mut commits = commits.fetch(lent.conn()?);
        let (mut read, mut upto) = (0, newest);
        while let Some(row) = commits.try_next().await.map_err(from_engine)? {
            let seq = read_uint(&row, 0).map_err(from_engine)?;
            let entries: &[u8] = row.try_get(1).map_err(from_engine)?;
            decode(entries, seq, &self.tables.schema, &mut self.ready)?;
            read += 1;
            if read == CHUNK || self.ready.len() >= ENTRIES {
                // There may be more.
                upto = seq;
                break;
            }
        }
        self.seq = upto;
        Ok(())
    }
}

/// The entries of a batch as they are stored.
pub(crate) fn encode(feed: &[Change]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(feed.len() * 40);
    for change in feed {
        let (r#type, name, id, rev) = match &change.touched {
            Touched::Document { key, rev, deleted } => {
                (if *deleted { REMOVED } else { WRITTEN }, key.kind, key.id, *rev)
            }
            Touched::Stream { lane, stream } => (STREAM, *lane, *stream, 0),
        };
        bytes.push(r#type);
        // A declared name has forty bytes at most.
        bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(&rev.to_be_bytes());
    }
    bytes
}

/// Reads the entries of a batch.
fn decode(mut bytes: &[u8], seq: Seq, schema: &Schema, into: &mut VecDeque<Change>) -> Result<()> {
    while !bytes.is_empty() {
        let touched = entry(&mut bytes, schema).ok_or_else(|| {
            Error::Corrupt(format!(
                "the entries of the feed at {seq} cannot be read, or name what is not declared"
            ))
        })?;
        into.push_back(Change { seq, touched });
    }
    Ok(())
}

fn entry(bytes: &mut &[u8], schema: &Schema) -> Option<Touched> {
    let [r#type, length] = <[u8; 2]>::try_from(bytes.split_off(..2)?).ok()?;
    let name = std::str::from_utf8(bytes.split_off(..usize::from(length))?).ok()?;
    let id = Uuid::from_slice(bytes.split_off(..16)?).ok()?;
    let rev = u64::from_be_bytes(bytes.split_off(..8)?.try_into().ok()?);
    Some(match r#type {
        WRITTEN | REMOVED => Touched::Document {
            key: Key::new(schema.kind(name).ok()?.name, id),
            rev,
            deleted: r#type == REMOVED,
        },
        STREAM => Touched::Stream {
            lane: schema.lane(name).ok()?.name,
            stream: id,
        },
        _ => return None,
    })
}
