//! What may be tuned.

use std::time::Duration;

/// How a store is opened. The defaults suit a server with up to 10,000 devices.
#[derive(Clone, Debug)]
pub struct JsonOptions {
    /// How long an ingest may wait for company; zero: not at all.
    pub linger: Duration,
    /// How many latest values and rows end the wait.
    pub linger_items: usize,
    /// At most this many calls share one write to the journal; 1 to 10,000.
    pub group: usize,
    /// How many bytes of journal lead to a checkpoint. Start-up reads at most the snapshot and about as much journal.
    pub checkpoint_bytes: u64,
    /// How long after the last checkpoint the next one is made, if anything was written.
    pub checkpoint_every: Duration,
    /// How many bytes a segment of the journal has at most; one write may go beyond. The last one is written anew at each start.
    pub segment_bytes: u64,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(20),
            linger_items: 512,
            group: 512,
            checkpoint_bytes: 128 * 1024 * 1024,
            checkpoint_every: Duration::from_secs(300),
            segment_bytes: 8 * 1024 * 1024,
        }
    }
}
