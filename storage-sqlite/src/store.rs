//! The store: checks each call, then hands it to the writer or to a view.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use fleet_core::{
    kernel::Clock,
    store::{
        Backend, Batch, Change, Committed, Error, Finding, Footprint, Info, Ingest, Name, Phase, Result, Schema,
        SchemaReport, Seq, Standing, Tracking, View, check_lease,
        group::{Answer, Work},
    },
};
use futures::{future::BoxFuture, stream::BoxStream};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::{
    error::closed,
    feed,
    file::{FORMAT, Place},
    lease,
    options::{SqliteOptions, Synchronous},
    read::{Readers, SqliteView},
    tables::Tables,
    upkeep,
    writer::{Pending, Request, Writer},
};

/// Calls that wait for the writer; more of them wait for room.
const QUEUE: usize = 4_096;

/// Rows that are trimmed in one transaction.
const TRIM_SLICE: i64 = 5_000;

/// What the writer, the views and the followers have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    tables: RwLock<Option<Arc<Tables>>>,
    /// The newest place in commit order.
    pub(crate) newest: watch::Sender<Seq>,
    standing: RwLock<Standing>,
    /// What was written while a move is under way.
    tracking: Mutex<Option<Tracking>>,
    closed: watch::Sender<bool>,
    /// Whether the store is being filled and does without the indexes that it will have in the end.
    pub(crate) put_off: AtomicBool,
    transactions: AtomicU64,
    works: AtomicU64,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            tables: RwLock::new(None),
            newest: watch::Sender::new(0),
            standing: RwLock::new(Standing::default()),
            tracking: Mutex::new(None),
            closed: watch::Sender::new(false),
            put_off: AtomicBool::new(false),
            transactions: AtomicU64::new(0),
            works: AtomicU64::new(0),
        })
    }

    /// The schema and its statements; refused before `prepare`.
    pub(crate) fn tables(&self) -> Result<Arc<Tables>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables
            .clone()
            .ok_or_else(|| Error::Refused("the store is not prepared yet".into()))
    }

    pub(crate) fn set_tables(&self, new: Arc<Tables>) {
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = Some(new);
    }

    pub(crate) fn is_put_off(&self) -> bool {
        self.put_off.load(Ordering::Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    pub(crate) async fn until_closed(&self) {
        // The sender lives as long as this does, so that the wait cannot fail.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// The writer has ended.
    pub(crate) fn finished(&self) {
        self.closed.send_replace(true);
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_standing(&self, standing: Standing) {
        *self.standing.write().unwrap_or_else(PoisonError::into_inner) = standing;
        // Who follows the feed of a store that was frozen has all of it.
        self.newest.send_modify(|_| {});
    }

    pub(crate) fn is_frozen(&self) -> bool {
        let standing = self.standing.read().unwrap_or_else(PoisonError::into_inner);
        matches!(standing.phase, Phase::Frozen(_))
    }

    /// Refused unless the store serves.
    pub(crate) fn check_serving(&self) -> Result<()> {
        let standing = self.standing.read().unwrap_or_else(PoisonError::into_inner);
        standing.phase.check_serving()
    }

    pub(crate) fn tracking(&self) -> MutexGuard<'_, Option<Tracking>> {
        self.tracking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One transaction with so many batches and ingests.
    pub(crate) fn count(&self, works: u64) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.works.fetch_add(works, Ordering::Relaxed);
    }
}

/// How well writers share transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Transactions that were committed for batches and ingests.
    pub transactions: u64,
    /// Batches and ingests in them, those that were refused included.
    pub works: u64,
}

/// A store in one SQLite file. Clones are the same store.
///
/// ```
/// # use std::sync::Arc;
/// use fleet_core::{kernel::SystemClock, store::Backend as _};
/// use fleet_storage_sqlite::{SqliteOptions, SqliteStore};
///
/// # #[tokio::main]
/// # async fn main() -> fleet_core::store::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("fleet.db");
/// let store = SqliteStore::open(&path, SqliteOptions::default(), Arc::new(SystemClock)).await?;
/// assert!(store.info().durable);
/// // The file is this process's until the store is closed.
/// assert!(SqliteStore::open(&path, SqliteOptions::default(), Arc::new(SystemClock)).await.is_err());
/// store.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: Arc<Place>,
    options: SqliteOptions,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    queue: mpsc::Sender<Request>,
    /// For views.
    readers: Arc<Readers>,
    /// For followers of the feed: those who hold views must not keep them waiting.
    followers: Arc<Readers>,
}

impl SqliteStore {
    /// Opens a file, or makes it, and its folder.
    ///
    /// Fails with [`Error::Refused`] when another process has it, when it is another program's or a newer version's, with
    /// [`Error::Corrupt`] when it is damaged, and with [`Error::Unavailable`] when the system does not let us. Must be
    /// called within a tokio runtime, on which the writer runs until the store is closed or its last clone dropped.
    pub async fn open(path: impl AsRef<Path>, options: SqliteOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let path = std::path::absolute(path.as_ref()).map_err(|error| Error::Unavailable(Box::new(error)))?;
        let options = SqliteOptions {
            group: options.group.clamp(1, 10_000),
            ..options
        };
        let place = Arc::new(Place::take(&path)?);
        let left_open = place.was_left_open();
        let mut conn = place.connect_writer(&options).await?;
        place.check(&mut conn, left_open).await?;
        let shared = Shared::new();
        let mut writer = Writer::new(Arc::clone(&place), options.clone(), Arc::clone(&shared), conn);
        writer.load().await?;
        let (queue, requests) = mpsc::channel(QUEUE);
        tokio::spawn(writer.run(requests));
        let inner = Inner {
            readers: Readers::new(Arc::clone(&place), options.readers, options.view_wait),
            followers: Readers::new(Arc::clone(&place), 1, options.view_wait),
            place,
            options,
            clock,
            shared,
            queue,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How well writers share transactions, since the store was opened.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            transactions: self.inner.shared.transactions.load(Ordering::Relaxed),
            works: self.inner.shared.works.load(Ordering::Relaxed),
        }
    }

    /// What a call may use; refused when the store is closed or not prepared.
    pub(crate) fn tables(&self) -> Result<Arc<Tables>> {
        self.check_open()?;
        self.inner.shared.tables()
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.inner.shared.is_closed() {
            Err(closed())
        } else {
            Ok(())
        }
    }

    /// What a call that changes something may use; refused unless the store serves.
    fn serving(&self) -> Result<Arc<Tables>> {
        let tables = self.tables()?;
        self.inner.shared.check_serving()?;
        Ok(tables)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    async fn work(&self, work: Work) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { work, reply };
        let sent = self.inner.queue.send(Request::Work(pending)).await;
        sent.map_err(|_| closed())?;
        answer.await.map_err(|_| abandoned())
    }

    /// Runs something alone on the writer.
    pub(crate) async fn alone<T, F>(&self, task: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'w> FnOnce(&'w mut Writer) -> BoxFuture<'w, Result<T>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let request = Request::Task(Box::new(move |writer| {
            Box::pin(async move {
                // Nobody may be waiting any more; the work is done all the same.
                let _ = reply.send(task(writer).await);
            })
        }));
        self.inner.queue.send(request).await.map_err(|_| closed())?;
        answer.await.map_err(|_| abandoned())?
    }
}

fn abandoned() -> Error {
    Error::Unknown("the writer ended before it answered".into())
}

#[async_trait]
impl Backend for SqliteStore {
    fn info(&self) -> Info {
        Info {
            backend: "sqlite",
            format: FORMAT,
            location: self.inner.place.path.display().to_string(),
            durable: self.inner.options.synchronous == Synchronous::Full,
            shared: false,
        }
    }

    async fn prepare(&self, schema: &Schema) -> Result<SchemaReport> {
        let schema = schema.clone();
        self.alone(move |writer| Box::pin(async move { upkeep::prepare(writer, &schema).await }))
            .await
    }

    async fn pending(&self, schema: &Schema) -> Result<SchemaReport> {
        let schema = schema.clone();
        self.alone(move |writer| Box::pin(async move { upkeep::pending(writer, &schema).await }))
            .await
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        let tables = self.tables()?;
        let view = SqliteView::open(&self.inner.readers, tables, self.inner.options.view_limit).await?;
        Ok(Box::new(view))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        self.serving()?.schema.check_batch(&batch)?;
        match self.work(Work::Batch(batch)).await? {
            Answer::Batch(answer) => answer,
            Answer::Ingest(_) => Err(abandoned()),
        }
    }

    async fn ingest(&self, ingest: Ingest) -> Result<()> {
        self.serving()?.schema.check_ingest(&ingest)?;
        if ingest.latest.is_empty() && ingest.rows.is_empty() {
            return Ok(());
        }
        match self.work(Work::Ingest(ingest)).await? {
            Answer::Ingest(answer) => answer,
            Answer::Batch(_) => Err(abandoned()),
        }
    }

    async fn trim(&self, lane: Name, before: i64) -> Result<u64> {
        let lane = self.tables()?.schema.check_trim(lane)?;
        self.serving()?;
        let mut trimmed = 0;
        loop {
            let removed = self
                .alone(move |writer| Box::pin(upkeep::trim(writer, lane, before, TRIM_SLICE)))
                .await?;
            trimmed += removed;
            // Between two slices others have their turn.
            if removed < TRIM_SLICE.unsigned_abs() {
                return Ok(trimmed);
            }
        }
    }

    async fn changes(&self, after: Seq) -> Result<BoxStream<'static, Result<Change>>> {
        let tables = self.tables()?;
        let inner = &self.inner;
        Ok(feed::changes(
            Arc::clone(&inner.followers),
            tables,
            Arc::clone(&inner.shared),
            after,
        ))
    }

    async fn compact(&self, upto: Seq) -> Result<u64> {
        self.serving()?;
        let forgotten = self
            .alone(move |writer| Box::pin(feed::raise_floor(writer, upto)))
            .await?;
        while self.alone(move |writer| Box::pin(feed::forget(writer, upto))).await? {}
        Ok(forgotten)
    }

    async fn lease(&self, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<u64>> {
        check_lease(name)?;
        self.serving()?;
        let (name, clock) = (name.to_owned(), Arc::clone(&self.inner.clock));
        self.alone(move |writer| {
            // The time is that of the decision, not of the call: a queue may lie between.
            Box::pin(async move { lease::lease(writer, &name, holder, clock.now(), ttl).await })
        })
        .await
    }

    async fn footprint(&self) -> Result<Footprint> {
        self.check_open()?;
        Ok(Footprint {
            bytes: Some(self.inner.place.bytes()),
            names: Vec::new(),
        })
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        let tables = self.tables()?;
        upkeep::check(&self.inner.place, &tables).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.shared.finished();
        self.inner.readers.close().await;
        self.inner.followers.close().await;
        let (reply, answer) = oneshot::channel();
        if self.inner.queue.send(Request::Close(reply)).await.is_err() {
            return Ok(());
        }
        // Whoever closed it at the same time has the answer.
        answer.await.unwrap_or(Ok(()))
    }
}
