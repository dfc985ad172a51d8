//! How the suite gets at a backend.

use std::{any::Any, fmt, sync::Arc};

use async_trait::async_trait;
use fleet_core::{kernel::ManualClock, store::Backend};

/// Whatever keeps a store's resources (a temporary folder, a database) until it is dropped.
pub type Guard = Box<dyn Any + Send + Sync>;

/// A store that was opened for one case.
pub struct Opened {
    /// The backend under test.
    pub backend: Arc<dyn Backend>,
    /// The clock by which its leases lapse, if it takes one.
    pub clock: Option<Arc<ManualClock>>,
    /// Its resources.
    pub guard: Guard,
}

impl Opened {
    /// A store, and what keeps its resources.
    pub fn new(backend: impl Backend, guard: impl Any + Send + Sync) -> Self {
        Self {
            backend: Arc::new(backend),
            clock: None,
            guard: Box::new(guard),
        }
    }

    /// Hands in the clock by which leases lapse; without it, those cases are skipped.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<ManualClock>) -> Self {
        self.clock = Some(clock);
        self
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// Opens stores for the suite. Panics are failures: a harness that cannot open a store should say why and panic.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// A new and empty store that nothing else uses; not prepared.
    async fn open(&self) -> Opened;

    /// Whether [`Harness::reopen`] works; backends that keep nothing say no, and those cases are skipped aloud.
    fn reopens(&self) -> bool {
        false
    }

    /// Opens the same store again, not prepared. The suite has closed it and dropped all that it had of it.
    async fn reopen(&self, guard: Guard) -> Opened {
        drop(guard);
        unimplemented_reopen()
    }
}

#[expect(clippy::panic, reason = "a harness that says that it reopens has to")]
fn unimplemented_reopen() -> Opened {
    panic!("the harness says that it reopens, and does not implement it")
}
