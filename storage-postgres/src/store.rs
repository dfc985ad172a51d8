//! The store: checks each call, then hands it to a writer, to a view or to the upkeep.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use fleet_core::store::{
    Backend, Batch, Change, Committed, Error, Finding, Footprint, Info, Ingest, Name, Result, Schema, SchemaReport,
    Seq, View, Write, check_lease,
    group::{Answer, Work},
};
use futures::stream::BoxStream;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use uuid::Uuid;

use crate::{
    error::closed,
    feed, lease,
    options::PostgresOptions,
    read::{PostgresView, Readers},
    server::Server,
    tables::{FORMAT, Tables},
    upkeep, watch as watching,
    writer::{Pending, Request, Writer, Writes},
};

/// Calls that wait for a writer; more of them wait for room.
const QUEUE: usize = 4_096;

/// What the writers, the views and the followers have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    tables: RwLock<Option<Arc<Tables>>>,
    /// The newest place in commit order that is known here.
    pub(crate) newest: watch::Sender<Seq>,
    /// The newest of our own commits, to be told.
    pub(crate) own: watch::Sender<Seq>,
    /// Another server says that it has committed.
    pub(crate) heard: Notify,
    /// We made the store begin or cease to serve, to be told.
    pub(crate) turned: Notify,
    /// Whether this store began to take notes, and has to end it.
    pub(crate) tracks: AtomicBool,
    /// Whether patches are taken to hold nothing that is there.
    pub(crate) appends: AtomicBool,
    closed: watch::Sender<bool>,
    transactions: AtomicU64,
    works: AtomicU64,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            tables: RwLock::new(None),
            newest: watch::Sender::new(0),
            own: watch::Sender::new(0),
            heard: Notify::new(),
            turned: Notify::new(),
            tracks: AtomicBool::new(false),
            appends: AtomicBool::new(true),
            closed: watch::Sender::new(false),
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

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    pub(crate) async fn until_closed(&self) {
        // The sender lives as long as this does, so that the wait cannot fail.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    fn finished(&self) {
        self.closed.send_replace(true);
    }

    /// A commit of ours.
    pub(crate) fn committed(&self, seq: Seq) {
        let raise = |newest: &mut Seq| {
            let raised = seq > *newest;
            *newest = seq.max(*newest);
            raised
        };
        self.newest.send_if_modified(raise);
        self.own.send_if_modified(raise);
    }

    /// Where commit order was found to stand, when `before` was known here. It goes back only where a store was emptied.
    pub(crate) fn stands_at(&self, before: Seq, seq: Seq) {
        self.newest.send_if_modified(|newest| {
            let moved = *newest != seq && (seq > *newest || *newest == before);
            if moved {
                *newest = seq;
            }
            moved
        });
    }

    /// Where commit order was found to stand just now.
    pub(crate) fn found_at(&self, seq: Seq) {
        // Copied out: nobody may look while it is changed.
        let before = *self.newest.borrow();
        self.stands_at(before, seq);
    }

    /// One transaction with so many batches or ingests.
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

/// A store in a namespace of a PostgreSQL database, shared with any number of other servers. Clones are the same store.
///
/// ```no_run
/// use fleet_core::store::Backend as _;
/// use fleet_storage_postgres::{PostgresOptions, PostgresStore};
///
/// # async fn example() -> fleet_core::store::Result<()> {
/// let uri = "postgres://fleet@db.example/fleet?sslmode=verify-full&schema=fleet";
/// let store = PostgresStore::open(uri, PostgresOptions::default()).await?;
/// assert!(store.info().shared);
/// store.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    server: Arc<Server>,
    options: PostgresOptions,
    shared: Arc<Shared>,
    commits: mpsc::Sender<Request>,
    ingests: mpsc::Sender<Request>,
    /// For views.
    readers: Arc<Readers>,
    /// For followers of the feed and for upkeep: those who hold views must not keep them waiting.
    others: Arc<Readers>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The tasks that watch end; the writers end when they have written what waits.
        self.shared.finished();
    }
}

impl PostgresStore {
    /// Opens the store at a URI such as `postgres://user@host/database?sslmode=require&schema=fleet`, and makes its first tables
    /// where there are none.
    ///
    /// Our own parts of the query are `schema` (the namespace, `fleet` by default), `listen=off` and `listen_uri`
    /// ([`Listen`](crate::Listen)); the rest is PostgreSQL's. Fails with [`Error::Refused`] when the address cannot be read, when the
    /// server is older than 14, stores another encoding than UTF-8 or takes no writes, when the namespace is another program's or
    /// a newer version's, and with [`Error::Unavailable`] when nobody answers. Must be called within a tokio runtime, on which the
    /// writers run until the store is closed or its last clone dropped.
    pub async fn open(uri: &str, options: PostgresOptions) -> Result<Self> {
        let (server, options) = Server::open(uri, options).await?;
        let server = Arc::new(server);
        let options = PostgresOptions {
            group: options.group.clamp(1, 10_000),
            ..options
        };
        let shared = Shared::new();
        let writer = |writes| {
            let (queue, requests) = mpsc::channel(QUEUE);
            let writer = Writer::new(Arc::clone(&server), options.clone(), Arc::clone(&shared), writes);
            tokio::spawn(writer.run(requests));
            queue
        };
        let inner = Inner {
            commits: writer(Writes::Commits),
            ingests: writer(Writes::Ingests),
            readers: Readers::new(Arc::clone(&server), options.readers, options.view_wait),
            others: Readers::new(Arc::clone(&server), 4, options.view_wait),
            server: Arc::clone(&server),
            options: options.clone(),
            shared: Arc::clone(&shared),
        };
        if let Some(to) = server.listen.clone() {
            tokio::spawn(watching::listen(to, server.channel(), Arc::clone(&shared)));
        }
        tokio::spawn(watching::ask_and_tell(
            Arc::clone(&server),
            Arc::clone(&shared),
            options.poll,
        ));
        tokio::spawn(upkeep::keep_partitions(
            Arc::clone(&server),
            Arc::clone(&shared),
            options.lease_clock.clone(),
        ));
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How well writers share transactions, since the store was opened.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            transactions: self.inner.shared.transactions.load(Ordering::Relaxed),
            works: self.inner.shared.works.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.inner.server
    }

    pub(crate) fn options(&self) -> &PostgresOptions {
        &self.inner.options
    }

    /// The connections for upkeep.
    pub(crate) fn others(&self) -> &Arc<Readers> {
        &self.inner.others
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.inner.shared.is_closed() {
            Err(closed())
        } else {
            Ok(())
        }
    }

    /// What a call may use; refused when the store is closed or not prepared.
    pub(crate) fn tables(&self) -> Result<Arc<Tables>> {
        self.check_open()?;
        self.inner.shared.tables()
    }

    async fn work(queue: &mpsc::Sender<Request>, work: Work) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { work, reply };
        queue.send(Request::Work(pending)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| abandoned())
    }
}

fn abandoned() -> Error {
    Error::Unknown("the writer ended before it answered".into())
}

/// The engine holds text, and no U+0000 in it.
fn check_body(body: &[u8]) -> Result<()> {
    if body.contains(&0) || std::str::from_utf8(body).is_err() {
        return Err(Error::Invalid("a body is not text in UTF-8 without U+0000".into()));
    }
    Ok(())
}

#[async_trait]
impl Backend for PostgresStore {
    fn info(&self) -> Info {
        Info {
            backend: "postgres",
            format: u32::try_from(FORMAT).unwrap_or(u32::MAX),
            location: self.inner.server.location(),
            durable: self.inner.server.durable,
            shared: true,
        }
    }

    async fn prepare(&self, schema: &Schema) -> Result<SchemaReport> {
        self.check_open()?;
        upkeep::prepare(self, schema).await
    }

    async fn pending(&self, schema: &Schema) -> Result<SchemaReport> {
        self.check_open()?;
        upkeep::pending(self, schema).await
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        let tables = self.tables()?;
        let view = PostgresView::open(&self.inner.readers, tables, self.inner.options.view_limit).await?;
        Ok(Box::new(view))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        self.tables()?.schema.check_batch(&batch)?;
        for write in &batch.writes {
            if let Write::Put { body, .. } = write {
                check_body(body)?;
            }
        }
        batch.rows.iter().try_for_each(|(_, row)| check_body(&row.body))?;
        match Self::work(&self.inner.commits, Work::Batch(batch)).await? {
            Answer::Batch(answer) => answer,
            Answer::Ingest(_) => Err(abandoned()),
        }
    }

    async fn ingest(&self, ingest: Ingest) -> Result<()> {
        self.tables()?.schema.check_ingest(&ingest)?;
        ingest.latest.iter().try_for_each(|latest| check_body(&latest.body))?;
        ingest.rows.iter().try_for_each(|(_, row)| check_body(&row.body))?;
        match Self::work(&self.inner.ingests, Work::Ingest(ingest)).await? {
            Answer::Ingest(answer) => answer,
            Answer::Batch(_) => Err(abandoned()),
        }
    }

    async fn trim(&self, lane: Name, before: i64) -> Result<u64> {
        let tables = self.tables()?;
        let lane = tables.schema.check_trim(lane)?;
        upkeep::trim(self, tables.lane(lane)?, before).await
    }

    async fn changes(&self, after: Seq) -> Result<BoxStream<'static, Result<Change>>> {
        let tables = self.tables()?;
        let inner = &self.inner;
        Ok(feed::changes(
            Arc::clone(&inner.others),
            tables,
            Arc::clone(&inner.shared),
            after,
        ))
    }

    async fn compact(&self, upto: Seq) -> Result<u64> {
        self.tables()?;
        upkeep::compact(self, upto).await
    }

    async fn lease(&self, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<u64>> {
        check_lease(name)?;
        self.tables()?;
        let (name, clock) = (name.to_owned(), self.inner.options.lease_clock.clone());
        let server = Arc::clone(&self.inner.server);
        upkeep::alone(self, move |lent| {
            let (name, clock, server) = (name.clone(), clock.clone(), Arc::clone(&server));
            Box::pin(async move { lease::lease(lent, &server.fixed, &clock, &name, holder, ttl).await })
        })
        .await
    }

    async fn footprint(&self) -> Result<Footprint> {
        let tables = self.tables()?;
        upkeep::footprint(self, &tables).await
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        let tables = self.tables()?;
        upkeep::check(self, &tables).await
    }

    async fn close(&self) -> Result<()> {
        if !self.inner.shared.is_closed() && self.inner.shared.tracks.swap(false, Ordering::SeqCst) {
            upkeep::cease_tracking(self).await?;
        }
        self.inner.shared.finished();
        for queue in [&self.inner.commits, &self.inner.ingests] {
            let (reply, answer) = oneshot::channel();
            if queue.send(Request::Close(reply)).await.is_ok() {
                // Whoever closed it at the same time has the answer.
                let _ = answer.await;
            }
        }
        self.inner.readers.close().await;
        self.inner.others.close().await;
        Ok(())
    }
}
