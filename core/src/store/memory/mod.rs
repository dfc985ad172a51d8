//! The reference backend: everything in memory, nothing on disk.
//!
//! ```text
//!   MemoryStore   the async shell: a lock, a clock, a wake-up for the feed    (this file)
//!   State         the store as a value: apply, ingest, trim, compact, lease   (state.rs, apply.rs)
//!     Verdict     what a batch will change, found out before it does            (verdict.rs)
//!     Table       documents of one kind and their ordered indexes             (table.rs, held.rs)
//!     Lane        rows of one lane, by time, by stream and by column          (lane.rs, orders.rs)
//!   MemoryView    a copy of the state, which costs next to nothing            (view.rs)
//!   follow        the feed as a stream                                        (feed.rs)
//!   relocate      moving what it holds; check looks for damage                (relocate.rs, check.rs)
//!   Load          builds a state from what a backend journalled               (load.rs; parts.rs is its counterpart)
//! ```
//!
//! It defines what the contract means: other backends are compared with it. [`State`] is pure (no clock, no lock, no
//! I/O), so that a backend which keeps its data in memory can journal the same operations and use it as its engine.
//! Memory grows with what is stored; feed entries and batch ids are kept until [`Backend::compact`] is called.

mod apply;
mod check;
mod feed;
mod held;
mod lane;
mod load;
mod orders;
mod parts;
mod relocate;
mod state;
mod table;
mod verdict;
mod view;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use tokio::sync::watch;
use uuid::Uuid;

pub use self::{
    feed::{Changes, follow},
    load::Load,
    parts::HeldLease,
    state::State,
    verdict::{Fresh, Judged, Verdict},
    view::MemoryView,
};
use super::{
    Backend, Batch, Change, Committed, Error, Finding, Footprint, Info, Ingest, Move, Name, Patch, RecordKey, Relocate,
    Result, Schema, SchemaReport, Seq, Standing, Tracked, Tracking, View,
};
use crate::kernel::Clock;

/// The reference backend. What it holds is gone when it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    /// None once closed.
    state: Arc<Mutex<Option<State>>>,
    /// What was written while a move is under way; taken after the lock of the state, never before it.
    tracking: Mutex<Option<Tracking>>,
    clock: Arc<dyn Clock>,
    // The only sender: streams end when the store is dropped.
    wake: watch::Sender<()>,
}

impl MemoryStore {
    /// An empty store; `clock` tells when leases lapse.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Arc::new(Mutex::new(Some(State::default()))),
            tracking: Mutex::new(None),
            clock,
            wake: watch::Sender::new(()),
        }
    }

    /// Another store that holds what this one does now, and goes its own way from here; it costs next to nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`] once this one is closed.
    pub fn fork(&self, clock: Arc<dyn Clock>) -> Result<Self> {
        let state = self.with(|state| Ok(state.clone()))?;
        Ok(Self {
            state: Arc::new(Mutex::new(Some(state))),
            tracking: Mutex::new(None),
            clock,
            wake: watch::Sender::new(()),
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        work(lock(&self.state).as_mut().ok_or_else(closed)?)
    }

    fn notes(&self) -> MutexGuard<'_, Option<Tracking>> {
        self.tracking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, keys: impl IntoIterator<Item = RecordKey>) {
        if let Some(tracking) = self.notes().as_mut() {
            tracking.note(keys);
        }
    }
}

// A panic while the lock is held leaves a state that is no worse than before: every operation checks first, then changes.
fn lock(state: &Mutex<Option<State>>) -> MutexGuard<'_, Option<State>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}

#[async_trait]
impl Backend for MemoryStore {
    fn info(&self) -> Info {
        Info {
            backend: "memory",
            format: 1,
            location: "memory".to_owned(),
            durable: false,
            shared: false,
        }
    }

    async fn prepare(&self, schema: &Schema) -> Result<SchemaReport> {
        self.with(|state| state.prepare(schema))
    }

    async fn pending(&self, schema: &Schema) -> Result<SchemaReport> {
        self.with(|state| state.pending(schema))
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        self.with(|state| Ok(Box::new(state.view()) as Box<dyn View>))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        let committed = self.with(|state| {
            let committed = state.apply(&batch)?;
            self.note(batch.record_keys());
            Ok(committed)
        })?;
        self.wake.send_replace(());
        Ok(committed)
    }

    async fn ingest(&self, ingest: Ingest) -> Result<()> {
        self.with(|state| {
            state.ingest(&ingest)?;
            self.note(ingest.record_keys());
            Ok(())
        })
    }

    async fn trim(&self, lane: Name, before: i64) -> Result<u64> {
        self.with(|state| {
            state.schema().check_trim(lane)?;
            if self.notes().is_some() {
                return Err(Tracking::refuses_trim());
            }
            state.trim(lane, before)
        })
    }

    async fn changes(&self, after: Seq) -> Result<BoxStream<'static, Result<Change>>> {
        self.with(|_| Ok(()))?;
        let state = self.state.clone();
        let read = move |after, most| Some(lock(&state).as_ref()?.changes(after, most));
        Ok(follow(read, self.wake.subscribe(), after).boxed())
    }

    async fn compact(&self, upto: Seq) -> Result<u64> {
        let forgotten = self.with(|state| state.compact(upto))?;
        self.wake.send_replace(());
        Ok(forgotten)
    }

    async fn lease(&self, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<u64>> {
        let now = self.clock.now();
        self.with(|state| state.lease(name, holder, ttl, now))
    }

    async fn footprint(&self) -> Result<Footprint> {
        self.with(|_| Ok(Footprint::default()))
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        let state = self.with(|state| Ok(state.clone()))?;
        Ok(state.check())
    }

    async fn close(&self) -> Result<()> {
        lock(&self.state).take();
        self.wake.send_replace(());
        Ok(())
    }
}

#[async_trait]
impl Relocate for MemoryStore {
    async fn standing(&self) -> Result<Standing> {
        self.with(|state| Ok(state.standing().clone()))
    }

    async fn freeze(&self, to: Move) -> Result<Seq> {
        let seq = self.with(|state| state.freeze(to))?;
        self.wake.send_replace(());
        Ok(seq)
    }

    async fn fill(&self, from: Move) -> Result<()> {
        self.with(|state| state.fill(from))?;
        self.wake.send_replace(());
        Ok(())
    }

    async fn patch(&self, patch: Patch) -> Result<()> {
        self.with(|state| state.patch(patch))
    }

    async fn serve(&self) -> Result<()> {
        self.with(|state| state.serve())?;
        self.wake.send_replace(());
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        self.with(State::clear)
    }

    async fn track(&self, on: bool) -> Result<()> {
        self.with(|_| {
            *self.notes() = on.then(Tracking::default);
            Ok(())
        })
    }

    async fn tracked(&self, after: u64) -> Result<Tracked> {
        self.with(|_| match self.notes().as_mut() {
            Some(tracking) => tracking.after(after),
            None => Err(Tracking::is_off()),
        })
    }
}
