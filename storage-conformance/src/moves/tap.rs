//! A store with somebody in between: who sees each call, and may change what goes in and out.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use fleet_core::store::{
    Backend, Batch, Change, Committed, Doc, DocPage, Filter, Find, Finding, Footprint, Info, Ingest, Key, Latest, Link,
    Move, Name, Patch, ReadRows, Record, RecordKey, Relocate, Result, RowPage, Schema, SchemaReport, Seq, Standing,
    StoredRow, Tracked, Value, View, group::Place,
};
use futures::stream::BoxStream;
use uuid::Uuid;

/// Who stands in between.
#[async_trait]
pub trait Tap: fmt::Debug + Send + Sync + 'static {
    /// Before a call: an error is the answer, and nothing is done.
    async fn before(&self, _call: &'static str) -> Result<()> {
        Ok(())
    }

    /// After a call: an error is the answer, and it is done.
    async fn after(&self, _call: &'static str) -> Result<()> {
        Ok(())
    }

    /// Whether a call is answered without being made. Asked for `freeze`, `serve`, `clear` and `track`.
    fn skips(&self, _call: &'static str) -> bool {
        false
    }

    /// What is stored in place of a patch.
    fn patch(&self, patch: Patch) -> Patch {
        patch
    }

    /// What is told in place of the notes.
    fn tracked(&self, tracked: Tracked) -> Tracked {
        tracked
    }

    /// What is read in place of a page.
    fn records(&self, records: Vec<Record>) -> Vec<Record> {
        records
    }
}

/// A store with a tap.
#[derive(Debug)]
pub struct Tapped {
    inner: Arc<dyn Backend>,
    tap: Arc<dyn Tap>,
}

impl Tapped {
    /// Puts a tap before a store.
    pub fn over(inner: Arc<dyn Backend>, tap: Arc<dyn Tap>) -> Arc<dyn Backend> {
        Arc::new(Self { inner, tap })
    }
}

struct TappedView {
    inner: Box<dyn View>,
    tap: Arc<dyn Tap>,
}

/// Calls the one behind, between the two questions.
macro_rules! pass {
    ($self:ident, $call:ident($($argument:expr),*)) => {{
        $self.tap.before(stringify!($call)).await?;
        let answer = $self.inner.$call($($argument),*).await?;
        $self.tap.after(stringify!($call)).await?;
        Ok(answer)
    }};
}

#[async_trait]
impl Backend for Tapped {
    fn info(&self) -> Info {
        self.inner.info()
    }

    async fn prepare(&self, schema: &Schema) -> Result<SchemaReport> {
        pass!(self, prepare(schema))
    }

    async fn pending(&self, schema: &Schema) -> Result<SchemaReport> {
        self.inner.pending(schema).await
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        self.tap.before("view").await?;
        let inner = self.inner.view().await?;
        self.tap.after("view").await?;
        Ok(Box::new(TappedView {
            inner,
            tap: Arc::clone(&self.tap),
        }))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        pass!(self, commit(batch))
    }

    async fn ingest(&self, ingest: Ingest) -> Result<()> {
        pass!(self, ingest(ingest))
    }

    async fn trim(&self, lane: Name, before: i64) -> Result<u64> {
        pass!(self, trim(lane, before))
    }

    async fn changes(&self, after: Seq) -> Result<BoxStream<'static, Result<Change>>> {
        pass!(self, changes(after))
    }

    async fn compact(&self, upto: Seq) -> Result<u64> {
        pass!(self, compact(upto))
    }

    async fn lease(&self, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<u64>> {
        pass!(self, lease(name, holder, ttl))
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        pass!(self, check())
    }

    async fn footprint(&self) -> Result<Footprint> {
        self.inner.footprint().await
    }

    async fn close(&self) -> Result<()> {
        pass!(self, close())
    }
}

#[async_trait]
impl Relocate for Tapped {
    async fn standing(&self) -> Result<Standing> {
        pass!(self, standing())
    }

    async fn freeze(&self, to: Move) -> Result<Seq> {
        if self.tap.skips("freeze") {
            return Ok(self.inner.view().await?.seq());
        }
        pass!(self, freeze(to))
    }

    async fn fill(&self, from: Move) -> Result<()> {
        pass!(self, fill(from))
    }

    async fn patch(&self, patch: Patch) -> Result<()> {
        let patch = self.tap.patch(patch);
        pass!(self, patch(patch))
    }

    async fn settle(&self) -> Result<()> {
        pass!(self, settle())
    }

    async fn serve(&self) -> Result<()> {
        if self.tap.skips("serve") {
            return Ok(());
        }
        pass!(self, serve())
    }

    async fn clear(&self) -> Result<()> {
        if self.tap.skips("clear") {
            return Ok(());
        }
        pass!(self, clear())
    }

    async fn track(&self, on: bool) -> Result<()> {
        if self.tap.skips("track") {
            return Ok(());
        }
        pass!(self, track(on))
    }

    async fn tracked(&self, after: u64) -> Result<Tracked> {
        let tracked: Result<Tracked> = pass!(self, tracked(after));
        tracked.map(|tracked| self.tap.tracked(tracked))
    }
}

#[async_trait]
impl View for TappedView {
    fn seq(&self) -> Seq {
        self.inner.seq()
    }

    async fn renew(&mut self) -> Result<()> {
        self.inner.renew().await
    }

    async fn get(&mut self, keys: &[Key]) -> Result<Vec<Option<Doc>>> {
        pass!(self, get(keys))
    }

    async fn latest(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        pass!(self, latest(keys))
    }

    async fn latest_page(&mut self, set: Name, after: Option<Uuid>, limit: usize) -> Result<Vec<Latest>> {
        pass!(self, latest_page(set, after, limit))
    }

    async fn find(&mut self, find: &Find) -> Result<DocPage> {
        pass!(self, find(find))
    }

    async fn count(&mut self, kind: Name, filter: &Filter) -> Result<u64> {
        pass!(self, count(kind, filter))
    }

    async fn tally(&mut self, kind: Name, filter: &Filter, by: Name) -> Result<Vec<(Value, u64)>> {
        pass!(self, tally(kind, filter, by))
    }

    async fn rows(&mut self, read: &ReadRows) -> Result<RowPage> {
        pass!(self, rows(read))
    }

    async fn chain_head(&mut self, lane: Name) -> Result<Option<Link>> {
        pass!(self, chain_head(lane))
    }

    async fn records(&mut self, after: Option<RecordKey>, limit: usize) -> Result<Vec<Record>> {
        let records: Result<Vec<Record>> = pass!(self, records(after, limit));
        records.map(|records| self.tap.records(records))
    }

    async fn rows_at(&mut self, places: &[Place]) -> Result<Vec<Option<StoredRow>>> {
        pass!(self, rows_at(places))
    }
}
