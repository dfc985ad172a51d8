//! What happened, in order. The same seed gives the same trace, to the last byte.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

/// Events that are kept of a run that nobody wants to see whole.
const KEPT: usize = 60;

/// The events of one simulation.
pub struct Trace {
    begun: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    hasher: blake3::Hasher,
    events: u64,
    last: VecDeque<String>,
    whole: bool,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({} events)", self.events())
    }
}

impl Trace {
    /// An empty trace; all of it is kept if `whole`, otherwise the last events.
    pub fn new(begun: Instant, whole: bool) -> Self {
        Self {
            begun,
            inner: Mutex::new(Inner {
                hasher: blake3::Hasher::new(),
                events: 0,
                last: VecDeque::new(),
                whole,
            }),
        }
    }

    /// Something happened.
    pub fn say(&self, event: impl fmt::Display) {
        let line = format!("{:>12.3} {event}", self.begun.elapsed().as_secs_f64());
        let mut inner = self.inner();
        inner.hasher.update(line.as_bytes()).update(b"\n");
        inner.events += 1;
        if !inner.whole && inner.last.len() >= KEPT {
            inner.last.pop_front();
        }
        inner.last.push_back(line);
    }

    /// How much happened.
    pub fn events(&self) -> u64 {
        self.inner().events
    }

    /// The digest of all events.
    pub fn digest(&self) -> String {
        self.inner().hasher.finalize().to_hex().to_string()
    }

    /// The events that were kept.
    pub fn lines(&self) -> Vec<String> {
        self.inner().last.iter().cloned().collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
