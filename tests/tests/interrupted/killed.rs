//! A server that is killed at one of its writes.

use std::sync::atomic::{AtomicU64, Ordering};

use fleet_core::store::{Error, Result};
use fleet_storage_conformance::Tap;

/// What changes a store.
const WRITES: [&str; 4] = ["commit", "ingest", "trim", "compact"];

/// From the last write on nothing is written any more.
#[derive(Debug)]
pub struct Killed {
    writes: AtomicU64,
    last: u64,
    /// Whether the last one is made, and only its answer lost.
    done: bool,
}

impl Killed {
    /// A server that is killed at this write.
    pub fn at(last: u64, done: bool) -> Self {
        Self {
            writes: AtomicU64::new(0),
            last,
            done,
        }
    }

    /// One that lives on; its writes are counted.
    pub fn never() -> Self {
        Self::at(u64::MAX, true)
    }

    /// Counts from here.
    pub fn begin(&self) {
        self.writes.store(0, Ordering::SeqCst);
    }

    /// How many writes there were.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    pub fn happened(&self) -> bool {
        self.writes() >= self.last
    }
}

#[async_trait::async_trait]
impl Tap for Killed {
    async fn before(&self, call: &'static str) -> Result<()> {
        if !WRITES.contains(&call) {
            return Ok(());
        }
        let write = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        match write > self.last || (write == self.last && !self.done) {
            true => Err(Error::Unavailable("killed".into())),
            false => Ok(()),
        }
    }

    async fn after(&self, call: &'static str) -> Result<()> {
        match WRITES.contains(&call) && self.happened() {
            true => Err(Error::Unavailable("killed".into())),
            false => Ok(()),
        }
    }
}
