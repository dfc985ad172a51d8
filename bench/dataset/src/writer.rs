//! Collects what is written into batches of bounded size.

use fleet_core::{
    kernel::Timestamp,
    store::{
        Backend, Batch, Entity, Expect, Ingest, JsonObject, LaneRow, Latest, LatestValue, Name, Result, Row, Write,
        encode,
    },
};
use uuid::Uuid;

use crate::{Dataset, Filled, Progress, dice::Dice};

/// Writes and rows of one batch, or items of one ingest.
const ITEMS: usize = 2_000;
/// Bytes of bodies of one batch, about.
const BYTES: usize = 4 << 20;

/// Writes in batches: documents and the rows beside them by commit, latest values and other rows by ingest. One batch at a
/// time, so that the same fleet has the same places in commit order everywhere.
pub struct Writer<'a> {
    backend: &'a dyn Backend,
    ids: Dice,
    now: Timestamp,
    writes: Vec<Write>,
    rows: Vec<(Name, Row)>,
    bytes: usize,
    ingest: Ingest,
    ingest_bytes: usize,
    pub filled: Filled,
    pub at: Progress,
    progress: &'a mut (dyn FnMut(Progress) + Send),
}

impl<'a> Writer<'a> {
    pub fn new(dataset: &Dataset, backend: &'a dyn Backend, progress: &'a mut (dyn FnMut(Progress) + Send)) -> Self {
        Self {
            backend,
            ids: Dice::new(dataset.seed, "commit", 0),
            now: dataset.now(),
            writes: Vec::new(),
            rows: Vec::new(),
            bytes: 0,
            ingest: Ingest::default(),
            ingest_bytes: 0,
            filled: Filled::default(),
            at: Progress::default(),
            progress,
        }
    }

    /// Creates a document, or replaces one of an earlier batch.
    pub async fn put<T: Entity>(&mut self, value: &T) -> Result<()> {
        let body = encode(value, &JsonObject::new())?;
        self.bytes += body.len();
        self.filled.bytes += body.len() as u64;
        self.filled.writes += 1;
        self.writes.push(Write::Put {
            key: T::key(value.id()),
            expect: Expect::Any,
            body,
            index: value.index(),
        });
        self.flush_if_full().await
    }

    /// Removes a document of an earlier batch.
    pub async fn delete<T: Entity>(&mut self, id: T::Id) -> Result<()> {
        self.filled.writes += 1;
        self.writes.push(Write::Delete {
            key: T::key(id),
            expect: Expect::Present,
        });
        self.flush_if_full().await
    }

    /// Appends a row in the commit of the documents beside it.
    pub async fn append<T: LaneRow>(&mut self, stream: Uuid, at: Timestamp, n: u32, value: &T) -> Result<()> {
        let row = value.row(stream, at, n)?;
        self.bytes += row.body.len();
        self.count(&row);
        self.rows.push((T::LANE, row));
        self.flush_if_full().await
    }

    /// Sets a latest value.
    pub async fn set<T: LatestValue>(&mut self, id: T::Id, value: &T) -> Result<()> {
        let body = value.encode()?;
        self.ingest_bytes += body.len();
        self.filled.bytes += body.len() as u64;
        self.filled.latest += 1;
        self.ingest.latest.push(Latest { key: T::key(id), body });
        self.ingest_if_full().await
    }

    /// Appends a row of the hot path.
    pub async fn ingest<T: LaneRow>(&mut self, stream: Uuid, at: Timestamp, n: u32, value: &T) -> Result<()> {
        let row = value.row(stream, at, n)?;
        self.ingest_bytes += row.body.len();
        self.count(&row);
        self.ingest.rows.push((T::LANE, row));
        self.ingest_if_full().await
    }

    fn count(&mut self, row: &Row) {
        self.filled.rows += 1;
        self.filled.bytes += row.body.len() as u64;
    }

    async fn flush_if_full(&mut self) -> Result<()> {
        if self.writes.len() + self.rows.len() >= ITEMS || self.bytes >= BYTES {
            self.commit().await?;
        }
        Ok(())
    }

    async fn ingest_if_full(&mut self) -> Result<()> {
        if self.ingest.latest.len() + self.ingest.rows.len() >= ITEMS || self.ingest_bytes >= BYTES {
            self.ingest_all().await?;
        }
        Ok(())
    }

    /// Writes what is collected.
    pub async fn flush(&mut self) -> Result<()> {
        self.commit().await?;
        self.ingest_all().await
    }

    async fn commit(&mut self) -> Result<()> {
        if self.writes.is_empty() && self.rows.is_empty() {
            return Ok(());
        }
        let batch = Batch {
            id: self.ids.uuid(self.now),
            writes: std::mem::take(&mut self.writes),
            rows: std::mem::take(&mut self.rows),
        };
        self.bytes = 0;
        self.filled.commits += 1;
        self.backend.commit(batch).await?;
        (self.progress)(self.at);
        Ok(())
    }

    async fn ingest_all(&mut self) -> Result<()> {
        if self.ingest.latest.is_empty() && self.ingest.rows.is_empty() {
            return Ok(());
        }
        self.ingest_bytes = 0;
        self.backend.ingest(std::mem::take(&mut self.ingest)).await?;
        (self.progress)(self.at);
        Ok(())
    }
}
