//! The reference backend: everything in memory, nothing on disk.
//!
//! ```text
//!   MemoryStore   the async shell: a lock, a clock, a wake-up for the feed    (this file)
//!   State         the store as a value: apply, ingest, trim, compact, lease   (state.rs, apply.rs)
//!     Table       documents of one kind and their ordered indexes             (table.rs)
//!     Lane        rows of one lane, by time and by stream                     (lane.rs)
//!   MemoryView    a copy of the state, which costs next to nothing            (view.rs)
//!   follow        the feed as a stream                                        (feed.rs)
//!   Import        builds a state from records; check looks for damage         (import.rs, check.rs)
//! ```
//!
//! It defines what the contract means: other backends are compared with it. [`State`] is pure (no clock, no lock, no
//! I/O), so that a backend which keeps its data in memory can journal the same operations and use it as its engine.
//! Memory grows with what is stored; feed entries and batch ids are kept until [`Backend::compact`] is called.

mod apply;
mod check;
mod feed;
mod import;
mod lane;
mod state;
mod table;
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
    import::Import,
    state::State,
    view::MemoryView,
};
use super::{
    Backend, Batch, Change, Committed, Error, Finding, Info, Ingest, Name, Record, Result, Schema, SchemaReport, Seq,
    View,
};
use crate::kernel::Clock;

/// The reference backend. What it holds is gone when it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    /// None once closed.
    state: Arc<Mutex<Option<State>>>,
    clock: Arc<dyn Clock>,
    // The only sender: streams end when the store is dropped.
    wake: watch::Sender<()>,
}

impl MemoryStore {
    /// An empty store; `clock` tells when leases lapse.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Arc::new(Mutex::new(Some(State::default()))),
            clock,
            wake: watch::Sender::new(()),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        work(lock(&self.state).as_mut().ok_or_else(closed)?)
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

    async fn view(&self) -> Result<Box<dyn View>> {
        self.with(|state| Ok(Box::new(state.view()) as Box<dyn View>))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        let committed = self.with(|state| state.apply(&batch))?;
        self.wake.send_replace(());
        Ok(committed)
    }

    async fn ingest(&self, ingest: Ingest) -> Result<()> {
        self.with(|state| state.ingest(&ingest))
    }

    async fn trim(&self, lane: Name, before: i64) -> Result<u64> {
        self.with(|state| state.trim(lane, before))
    }

    async fn changes(&self, after: Seq) -> Result<BoxStream<'static, Result<Change>>> {
        self.with(|_| Ok(()))?;
        let state = self.state.clone();
        let read = move |after, most| Some(lock(&state).as_ref()?.changes(after, most));
        Ok(follow(read, self.wake.subscribe(), after).boxed())
    }

    async fn compact(&self, upto: Seq) -> Result<u64> {
        let forgotten = self.with(|state| Ok(state.compact(upto)))?;
        self.wake.send_replace(());
        Ok(forgotten)
    }

    async fn lease(&self, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<u64>> {
        let now = self.clock.now();
        self.with(|state| state.lease(name, holder, ttl, now))
    }

    async fn import(&self, mut records: BoxStream<'static, Result<Record>>) -> Result<Record> {
        let mut import = self.with(|state| Import::into(state))?;
        while let Some(record) = records.next().await {
            import.add(record?)?;
        }
        let (filled, end) = import.finish()?;
        self.with(|state| {
            // Somebody may have written while the records came in.
            Import::into(state)?;
            *state = filled;
            Ok(end)
        })
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
