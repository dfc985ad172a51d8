//! A store that can be exchanged for another while it is used.
//!
//! # What a move means for those who use the store
//!
//! - **Writes** pass a gate. While a move switches over it is shut, and writes wait instead of failing; then they go to the new
//!   store, or to the old one if the move was put off. No write is under way when the source is frozen, so no caller meets a
//!   frozen store. Uncontended, the gate is one atomic operation.
//! - **Reads** never wait: they go to the store that is active. A view stays the view of the store that it was taken of.
//! - **Followers of the feed** are carried over: the frozen store's feed ends behind its last commit, and the new one's begins
//!   there, because commit order is carried. Who begins behind the switch-over gets the old store's part first, as long as that
//!   store is open.
//! - **Leases are not moved.** Nobody holds one after a move: whoever wants it takes it again, and its fences begin anew. A fence
//!   is only ever compared with fences of one store.
//! - **Batch ids are not moved.** A batch whose outcome was unknown before the move, and that is sent again after it, is a new
//!   batch: what keeps it from being applied twice then is what its writes demand ([`super::Expect`]).

use std::{
    fmt,
    future::Future,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::{
    sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock as Gate, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use uuid::Uuid;

use super::{
    Backend, Batch, Change, Committed, Error, Finding, Footprint, Info, Ingest, Move, Name, Patch, Phase, Relocate,
    Result, Schema, SchemaReport, Seq, Standing, Tracked, View,
};

/// How long the feed of a store that was left may be silent before its end is believed without having been told. The stores of
/// this house tell it.
const SILENCE: Duration = Duration::from_secs(5);

/// How often a follower of a store that is frozen looks whether it serves again.
const LOOK: Duration = Duration::from_millis(200);

/// A store that can be exchanged for another while it is used. Clones are the same switch.
#[derive(Clone)]
pub struct Switch {
    inner: Arc<Inner>,
}

struct Inner {
    /// Where writes go; shut while a move switches over.
    gate: Arc<Gate<Arc<dyn Backend>>>,
    routes: RwLock<Routes>,
    /// Tells how often the store was exchanged.
    flips: watch::Sender<usize>,
    patience: Duration,
}

/// All stores since the beginning, the active one last.
struct Routes {
    stores: Vec<Arc<dyn Backend>>,
    /// Where commit order stood when each of those before it was left.
    ends: Vec<Seq>,
}

impl Routes {
    fn active(&self) -> &Arc<dyn Backend> {
        // There is one from the beginning on, and none is ever taken away.
        &self.stores[self.ends.len()]
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").field("active", &self.active()).finish()
    }
}

impl Switch {
    /// Begins with a store. `patience` is how long a write waits for a move before it fails, with nothing written; it should be
    /// well above the pause that moves are allowed.
    pub fn new(active: Arc<dyn Backend>, patience: Duration) -> Self {
        let inner = Inner {
            gate: Arc::new(Gate::new(Arc::clone(&active))),
            routes: RwLock::new(Routes {
                stores: vec![active],
                ends: Vec::new(),
            }),
            flips: watch::Sender::new(0),
            patience,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The store that is used now.
    pub fn active(&self) -> Arc<dyn Backend> {
        self.inner.routes(|routes| Arc::clone(routes.active()))
    }

    /// Shuts the gate: returns once no write is under way, and lets none begin until the pause is over. Fails, with the gate
    /// open again, when writes take longer than `limit`.
    pub async fn pause(&self, limit: Duration) -> Result<Pause> {
        let shut = Arc::clone(&self.inner.gate).write_owned();
        let gate = timeout(limit, shut)
            .await
            .map_err(|_| Error::Unavailable("writes were under way for longer than the pause may take".into()))?;
        Ok(Pause {
            gate,
            inner: Arc::clone(&self.inner),
        })
    }

    /// Lets a write through.
    async fn enter(&self) -> Result<OwnedRwLockReadGuard<Arc<dyn Backend>>> {
        if let Ok(open) = Arc::clone(&self.inner.gate).try_read_owned() {
            return Ok(open);
        }
        let opened = timeout(self.inner.patience, Arc::clone(&self.inner.gate).read_owned()).await;
        opened.map_err(|_| Error::Unavailable("storage is paused for a move, for too long".into()))
    }

    async fn write<T, F: Future<Output = Result<T>> + Send>(
        &self,
        call: impl FnOnce(Arc<dyn Backend>) -> F + Send,
    ) -> Result<T> {
        let open = self.enter().await?;
        call(Arc::clone(&open)).await
    }
}

impl Inner {
    fn routes<T>(&self, read: impl FnOnce(&Routes) -> T) -> T {
        read(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The gate is shut. Dropping this opens it, on the same store.
pub struct Pause {
    gate: OwnedRwLockWriteGuard<Arc<dyn Backend>>,
    inner: Arc<Inner>,
}

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pause").finish_non_exhaustive()
    }
}

impl Pause {
    /// From now on everything goes to `to`, which goes on where the store before it was frozen: behind `at`.
    pub fn flip(mut self, to: Arc<dyn Backend>, at: Seq) {
        {
            let mut routes = self.inner.routes.write().unwrap_or_else(PoisonError::into_inner);
            routes.stores.push(Arc::clone(&to));
            routes.ends.push(at);
        }
        *self.gate = to;
        self.inner.flips.send_modify(|flips| *flips += 1);
    }
}

#[async_trait]
impl Backend for Switch {
    fn info(&self) -> Info {
        self.active().info()
    }

    async fn prepare(&self, schema: &Schema) -> Result<SchemaReport> {
        self.write(|store| async move { store.prepare(schema).await }).await
    }

    async fn pending(&self, schema: &Schema) -> Result<SchemaReport> {
        self.active().pending(schema).await
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        self.active().view().await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        self.write(|store| async move { store.commit(batch).await }).await
    }

    async fn ingest(&self, ingest: Ingest) -> Result<()> {
        self.write(|store| async move { store.ingest(ingest).await }).await
    }

    async fn trim(&self, lane: Name, before: i64) -> Result<u64> {
        self.write(|store| async move { store.trim(lane, before).await }).await
    }

    async fn changes(&self, after: Seq) -> Result<BoxStream<'static, Result<Change>>> {
        let mut follower = Follower {
            flips: self.inner.flips.subscribe(),
            inner: Arc::clone(&self.inner),
            after,
            part: None,
            over: false,
        };
        // An error at the beginning is the answer to the call, as it is without a switch.
        follower.open().await?;
        Ok(stream::unfold(follower, |mut follower| async {
            let item = follower.next().await?;
            Some((item, follower))
        })
        .boxed())
    }

    async fn compact(&self, upto: Seq) -> Result<u64> {
        self.write(|store| async move { store.compact(upto).await }).await
    }

    async fn lease(&self, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<u64>> {
        self.write(|store| async move { store.lease(name, holder, ttl).await })
            .await
    }

    async fn footprint(&self) -> Result<Footprint> {
        self.active().footprint().await
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        self.active().check().await
    }

    async fn close(&self) -> Result<()> {
        let stores = self.inner.routes(|routes| routes.stores.clone());
        let mut closed = Ok(());
        for store in stores {
            closed = closed.and(store.close().await);
        }
        closed
    }
}

/// Steps of a move go to the active store, past the gate: a move shuts it itself.
#[async_trait]
impl Relocate for Switch {
    async fn standing(&self) -> Result<Standing> {
        self.active().standing().await
    }

    async fn freeze(&self, to: Move) -> Result<Seq> {
        self.active().freeze(to).await
    }

    async fn fill(&self, from: Move) -> Result<()> {
        self.active().fill(from).await
    }

    async fn patch(&self, patch: Patch) -> Result<()> {
        self.active().patch(patch).await
    }

    async fn settle(&self) -> Result<()> {
        self.active().settle().await
    }

    async fn serve(&self) -> Result<()> {
        self.active().serve().await
    }

    async fn clear(&self) -> Result<()> {
        self.active().clear().await
    }

    async fn track(&self, on: bool) -> Result<()> {
        self.active().track(on).await
    }

    async fn tracked(&self, after: u64) -> Result<Tracked> {
        self.active().tracked(after).await
    }
}

/// Follows the feed over all stores.
struct Follower {
    inner: Arc<Inner>,
    flips: watch::Receiver<usize>,
    /// Everything up to here was given out, but for the rest of the commit itself.
    after: Seq,
    part: Option<Part>,
    over: bool,
}

/// The feed of one of the stores.
struct Part {
    store: Arc<dyn Backend>,
    number: usize,
    changes: BoxStream<'static, Result<Change>>,
    /// When the silence of a store that was left counts as its end.
    silent: Option<Instant>,
}

impl Follower {
    /// Opens the feed of the first store that goes beyond where the follower stands.
    async fn open(&mut self) -> Result<()> {
        let (number, newest, store, active) = self.inner.routes(|routes| {
            let newest = routes.ends.len();
            let number = routes.ends.iter().position(|end| *end > self.after).unwrap_or(newest);
            (
                number,
                newest,
                Arc::clone(&routes.stores[number]),
                Arc::clone(routes.active()),
            )
        });
        let (number, store, changes) = match store.changes(self.after).await {
            // An old store that was closed: the newest one says what it still knows.
            Err(Error::Unavailable(_)) if number < newest => {
                let changes = active.changes(self.after).await?;
                (newest, active, changes)
            }
            changes => (number, store, changes?),
        };
        self.part = Some(Part {
            silent: (number < newest).then(|| Instant::now() + SILENCE),
            store,
            number,
            changes,
        });
        Ok(())
    }

    async fn next(&mut self) -> Option<Result<Change>> {
        while !self.over {
            if self.part.is_none()
                && let Err(error) = self.open().await
            {
                self.over = true;
                return Some(Err(error));
            }
            let part = self.part.as_mut()?;
            let silence = async {
                match part.silent {
                    Some(at) => sleep_until(at).await,
                    None => futures::future::pending().await,
                }
            };
            let item = tokio::select! {
                biased;
                item = part.changes.next() => item,
                flipped = self.flips.changed(), if part.silent.is_none() => {
                    if flipped.is_ok() && self.inner.routes(|routes| part.number < routes.ends.len()) {
                        part.silent = Some(Instant::now() + SILENCE);
                    }
                    continue;
                }
                () = silence => None,
            };
            match item {
                Some(Ok(change)) => {
                    self.after = change.seq;
                    if let Some(silent) = &mut part.silent {
                        *silent = Instant::now() + SILENCE;
                    }
                    return Some(Ok(change));
                }
                Some(Err(error)) => {
                    self.over = true;
                    return Some(Err(error));
                }
                None => self.turn().await,
            }
        }
        None
    }

    /// The feed of a store has ended: because it was left, or is frozen for now, or closed.
    async fn turn(&mut self) {
        let Some(part) = self.part.take() else {
            return;
        };
        loop {
            // Everything up to the end was given out, also where its last commits touched nothing that a feed tells of.
            if let Some(end) = self.inner.routes(|routes| routes.ends.get(part.number).copied()) {
                self.after = self.after.max(end);
                return;
            }
            match part.store.standing().await.map(|standing| standing.phase) {
                // It was frozen and serves again: nothing was missed, since nothing was written meanwhile.
                Ok(Phase::Serving) => return,
                Ok(Phase::Frozen(_)) => {
                    tokio::select! {
                        _ = self.flips.changed() => {}
                        () = sleep(LOOK) => {}
                    }
                }
                Ok(Phase::Filling(_)) | Err(_) => {
                    self.over = true;
                    return;
                }
            }
        }
    }
}
