//! What may be tuned.

use std::time::Duration;

/// When a commit is synchronised with the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// Before it is acknowledged: it survives a loss of power.
    #[default]
    Full,
    /// At checkpoints only: it survives the end of the process, and a loss of power may take the newest commits. The file is
    /// intact in either case.
    Normal,
}

/// How a store is opened. The defaults suit a server with up to 10,000 devices.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// When a commit is synchronised with the disk.
    pub synchronous: Synchronous,
    /// How long an ingest may wait for company; zero: not at all.
    pub linger: Duration,
    /// How many latest values and rows end the wait.
    pub linger_items: usize,
    /// At most this many batches and ingests share one transaction; 1 to 10,000.
    pub group: usize,
    /// How many views may be open at once; 1 to 64. Each has a thread and a cache of a few megabytes.
    pub readers: usize,
    /// How long a view may be held.
    pub view_limit: Duration,
    /// How long a call waits for a free view before it fails.
    pub view_wait: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Full,
            linger: Duration::from_millis(20),
            linger_items: 512,
            group: 512,
            readers: 6,
            view_limit: Duration::from_secs(60),
            view_wait: Duration::from_secs(30),
        }
    }
}
