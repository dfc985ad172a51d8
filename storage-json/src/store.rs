//! The store: checks each call, then hands it to the writer or answers it from the published state.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use fleet_core::{
    kernel::Clock,
    store::{
        Backend, Batch, Change, Committed, Error, Finding, Footprint, Info, Ingest, Name, Result, Schema, SchemaReport,
        Seq, Standing, Tracking, View, check_lease,
        memory::{State, follow},
    },
};
use futures::{StreamExt as _, stream::BoxStream};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::{
    error::{abandoned, closed},
    files::{Files, RealFiles},
    manifest::FORMAT,
    options::JsonOptions,
    place::Place,
    upkeep,
    writer::{Ask, Queue, ReadyCommit, ReadyIngest, Reply, Request, Writer, heralds, standing},
};

/// What the writer, the views and the followers have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What is on the disk; none before `prepare` and after `close`.
    published: RwLock<Option<State>>,
    /// The schema of `published`, for those who need nothing else.
    schema: RwLock<Option<Arc<Schema>>>,
    /// What the store was for when it was opened.
    found: OnceLock<Standing>,
    wake: watch::Sender<()>,
    /// What was written while a move is under way.
    tracking: Mutex<Option<Tracking>>,
    closed: AtomicBool,
    pub(crate) queue: Queue,
    /// Held while files change that the manifest names.
    pub(crate) switch: Arc<Mutex<()>>,
    transactions: AtomicU64,
    works: AtomicU64,
    decided: AtomicU64,
    checkpoints: AtomicU64,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            published: RwLock::new(None),
            schema: RwLock::new(None),
            found: OnceLock::new(),
            wake: watch::Sender::new(()),
            tracking: Mutex::new(None),
            closed: AtomicBool::new(false),
            queue: Queue::new(),
            switch: Arc::default(),
            transactions: AtomicU64::new(0),
            works: AtomicU64::new(0),
            decided: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
        })
    }

    /// Shows a new state to those who read; `told` wakes those who follow.
    pub(crate) fn publish(&self, state: State, told: bool) {
        if !self.closed.load(Ordering::SeqCst) {
            let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
            let last = published.replace(state);
            drop(published);
            // Readers need not wait until what nobody looks at any more is gone.
            drop(last);
        }
        if told {
            self.wake.send_replace(());
        }
    }

    /// What is on the disk; fails before `prepare` and after `close`.
    pub(crate) fn state(&self) -> Result<State> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(closed());
        }
        let published = self.published.read().unwrap_or_else(PoisonError::into_inner);
        published
            .clone()
            .ok_or_else(|| Error::Refused("the store is not prepared yet".to_owned()))
    }

    /// The schema, without a copy of everything else.
    pub(crate) fn schema(&self) -> Result<Arc<Schema>> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(closed());
        }
        let schema = self.schema.read().unwrap_or_else(PoisonError::into_inner);
        schema
            .clone()
            .ok_or_else(|| Error::Refused("the store is not prepared yet".to_owned()))
    }

    /// What the store is for. That stands outside its contents, so it is known before they are read.
    pub(crate) fn standing(&self) -> Result<Standing> {
        match (self.state(), self.found.get()) {
            (Ok(state), _) => Ok(state.standing().clone()),
            (Err(_), Some(found)) if !self.closed.load(Ordering::SeqCst) => Ok(found.clone()),
            (Err(error), _) => Err(error),
        }
    }

    /// What calls are checked against from now on.
    pub(crate) fn prepared(&self, schema: &Arc<Schema>) {
        *self.schema.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(schema));
    }

    pub(crate) fn tracking(&self) -> MutexGuard<'_, Option<Tracking>> {
        self.tracking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is read or followed any more.
    pub(crate) fn finished(&self) {
        self.closed.store(true, Ordering::SeqCst);
        drop(self.published.write().unwrap_or_else(PoisonError::into_inner).take());
        self.wake.send_replace(());
    }

    pub(crate) fn count(&self, works: u64) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.works.fetch_add(works, Ordering::Relaxed);
    }

    pub(crate) fn count_decided(&self) {
        self.decided.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_checkpoint(&self) {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
    }
}

/// How well writers share synchronisations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Groups that were written to the journal, each with one synchronisation.
    pub transactions: u64,
    /// Calls that were answered by them, those that were refused included.
    pub works: u64,
    /// Calls that were decided, answered or not yet.
    pub decided: u64,
    /// Snapshots that were stored.
    pub checkpoints: u64,
}

/// A store in one folder of readable files. Clones are the same store.
///
/// ```
/// # use std::sync::Arc;
/// use fleet_core::{kernel::SystemClock, store::Backend as _};
/// use fleet_storage_json::{JsonOptions, JsonStore};
///
/// # #[tokio::main]
/// # async fn main() -> fleet_core::store::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("json");
/// let store = JsonStore::open(&path, JsonOptions::default(), Arc::new(SystemClock)).await?;
/// assert!(store.info().durable);
/// // The folder is this process's until the store is closed.
/// assert!(JsonStore::open(&path, JsonOptions::default(), Arc::new(SystemClock)).await.is_err());
/// store.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct JsonStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    files: Arc<dyn Files>,
    root: PathBuf,
    shared: Arc<Shared>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The writer finishes what was accepted, then lets go of the folder.
        self.shared.queue.close();
    }
}

impl JsonStore {
    /// Opens a folder, or makes it.
    ///
    /// Fails with [`Error::Refused`] when another process has it, when it is somebody else's or a newer version's, with
    /// [`Error::Corrupt`] when it is damaged (the message names file and line; [`repair`](crate::repair) goes on without what
    /// is damaged), and with [`Error::Unavailable`] when the system does not let us. Its contents are read by
    /// [`prepare`](Backend::prepare). The writer is a thread that runs until the store is closed or its last clone is dropped.
    pub async fn open(path: impl AsRef<Path>, options: JsonOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_on(Arc::new(RealFiles), path, options, clock).await
    }

    /// Opens a folder on another file system than the machine's own.
    pub async fn open_on(
        files: Arc<dyn Files>,
        path: impl AsRef<Path>,
        options: JsonOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let root = std::path::absolute(path.as_ref()).map_err(|error| Error::Unavailable(Box::new(error)))?;
        let options = JsonOptions {
            group: options.group.clamp(1, 10_000),
            ..options
        };
        let shared = Shared::new();
        let inner = Inner {
            files: Arc::clone(&files),
            root: root.clone(),
            shared: Arc::clone(&shared),
        };
        let heralds = heralds();
        let opened = tokio::task::spawn_blocking(move || {
            let place = Place::take(files, &root)?;
            let found = place.open()?;
            let _ = shared.found.set(standing(&found.0, &found.1)?);
            let thread = std::thread::Builder::new().name("json-writer".to_owned());
            let started = Writer::new(place, options, clock, shared, found, heralds)
                .and_then(|writer| thread.spawn(move || writer.run()));
            started.map(drop).map_err(|error| Error::Unavailable(Box::new(error)))
        });
        opened.await.map_err(|error| Error::Unavailable(Box::new(error)))??;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How well writers share synchronisations, since the store was opened.
    pub fn statistics(&self) -> Statistics {
        let shared = &self.inner.shared;
        Statistics {
            transactions: shared.transactions.load(Ordering::Relaxed),
            works: shared.works.load(Ordering::Relaxed),
            decided: shared.decided.load(Ordering::Relaxed),
            checkpoints: shared.checkpoints.load(Ordering::Relaxed),
        }
    }

    /// Stores a snapshot of everything acknowledged so far, so that the next start reads no journal before it.
    pub async fn checkpoint(&self) -> Result<()> {
        self.inner.shared.schema()?;
        self.ask(Request::Checkpoint).await
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    /// Asks the writer and waits for its answer.
    pub(crate) async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.inner.shared.queue.send(request(reply)).await?;
        answer.await.map_err(|_| abandoned())?
    }
}

#[async_trait]
impl Backend for JsonStore {
    fn info(&self) -> Info {
        Info {
            backend: "json",
            format: FORMAT,
            location: self.inner.root.display().to_string(),
            durable: true,
            shared: false,
        }
    }

    async fn prepare(&self, schema: &Schema) -> Result<SchemaReport> {
        let schema = schema.clone();
        self.ask(|reply| Request::Prepare(schema, reply)).await
    }

    async fn pending(&self, schema: &Schema) -> Result<SchemaReport> {
        let schema = schema.clone();
        self.ask(|reply| Request::Pending(schema, reply)).await
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        Ok(Box::new(self.inner.shared.state()?.view()))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        let ready = ReadyCommit::new(batch, self.inner.shared.schema()?)?;
        self.ask(|reply| Request::Write(Ask::Commit(ready, reply))).await
    }

    async fn ingest(&self, ingest: Ingest) -> Result<()> {
        if ingest.latest.is_empty() && ingest.rows.is_empty() {
            return self.inner.shared.schema().map(drop);
        }
        let ready = ReadyIngest::new(ingest, self.inner.shared.schema()?)?;
        self.ask(|reply| Request::Write(Ask::Ingest(ready, reply))).await
    }

    async fn trim(&self, lane: Name, before: i64) -> Result<u64> {
        let lane = self.inner.shared.schema()?.check_trim(lane)?;
        let mut trimmed = 0;
        loop {
            let slice = self.ask(|reply| Request::Write(Ask::Trim(lane, before, reply)));
            let (removed, more) = slice.await?;
            trimmed += removed;
            if !more {
                return Ok(trimmed);
            }
        }
    }

    async fn changes(&self, after: Seq) -> Result<BoxStream<'static, Result<Change>>> {
        let shared = &self.inner.shared;
        shared.schema()?;
        // A follower keeps no store alive: its stream ends with the writer.
        let weak = Arc::downgrade(shared);
        let read = move |after, most| {
            let shared = weak.upgrade()?;
            let published = shared.published.read().unwrap_or_else(PoisonError::into_inner);
            Some(published.as_ref()?.changes(after, most))
        };
        Ok(follow(read, shared.wake.subscribe(), after).boxed())
    }

    async fn compact(&self, upto: Seq) -> Result<u64> {
        self.inner.shared.schema()?;
        self.ask(|reply| Request::Write(Ask::Compact(upto, reply))).await
    }

    async fn lease(&self, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<u64>> {
        check_lease(name)?;
        self.inner.shared.schema()?;
        let name = name.to_owned();
        self.ask(|reply| Request::Write(Ask::Lease(name, holder, ttl, reply)))
            .await
    }

    async fn footprint(&self) -> Result<Footprint> {
        let schema = self.inner.shared.schema()?;
        let parts = self.ask(Request::Footprint).await?;
        let names = schema.names().filter_map(|name| Some((name, *parts.get(name)?)));
        Ok(Footprint {
            bytes: Some(parts.values().sum()),
            names: names.collect(),
        })
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        let state = self.inner.shared.state()?;
        let inner = Arc::clone(&self.inner);
        let checked = tokio::task::spawn_blocking(move || {
            let mut findings = state.check();
            let held = inner.shared.switch.lock().unwrap_or_else(PoisonError::into_inner);
            findings.extend(upkeep::check(&*inner.files, &inner.root)?);
            drop(held);
            Ok(findings)
        });
        checked.await.map_err(|error| Error::Unavailable(Box::new(error)))?
    }

    async fn close(&self) -> Result<()> {
        match self.ask(Request::Close).await {
            // Whoever closed it at the same time has the answer.
            Ok(()) | Err(Error::Unavailable(_) | Error::Unknown(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
