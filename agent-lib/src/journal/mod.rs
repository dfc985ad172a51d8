//! The agent's durable spool: one append-only file of what it was asked, did and still owes the server.
//!
//! A record is `length u32 | CRC-32 u32 | canonical JSON`, both numbers little-endian, the sum taken over length and
//! JSON. Records are synced in groups before anything that rests on them happens: a receipt before the run is
//! accepted, a start before the first process, a result before it is sent.
//!
//! Map: [`Record`] is what callers append; `frame` turns it into bytes and back; `scan` reads a file that may have been
//! cut or damaged; `index` knows where everything that still counts lies; `rewrite`
//! leaves the rest behind; [`Journal`] joins them over a file of a [`Disk`](crate::disk::Disk);
//! [`JournalWriter`] gives it a thread of its own and groups what several tasks append; [`decide`] says what to do with
//! a run that was found after a restart; [`Overview`] shows from outside what lies in it.
//!
//! Bodies (offers, output, results) are opaque and stay on disk; memory holds a few words for each.

mod file;
mod frame;
mod index;
mod overview;
mod record;
mod recovery;
mod rewrite;
mod scan;
mod writer;

#[cfg(test)]
mod tests;

use std::time::Duration;

use fleet_core::kernel::{Class, Code};

pub use file::{Journal, Pending, Status};
pub use frame::MAX_RECORD_BYTES;
pub use overview::Overview;
pub use record::Record;
pub use recovery::{Recovered, RecoveredRun, Recovery, decide};
pub use scan::Damage;
pub use writer::{JournalKeeper, JournalWriter};

/// A write or sync failed in a way that leaves the file's content unknown; open the journal again.
pub const JOURNAL_BROKEN: Code = Code::new("agent_journal.broken", Class::Unavailable);
/// The disk has no room; nothing was written.
pub const JOURNAL_DISK_FULL: Code = Code::new("agent_journal.disk_full", Class::Unavailable);
/// The spool is full of things that may not be dropped; no further run can be accepted.
pub const JOURNAL_FULL: Code = Code::new("agent_journal.full", Class::Unavailable);
/// The file cannot be opened or read.
pub const JOURNAL_UNREADABLE: Code = Code::new("agent_journal.unreadable", Class::Unavailable);
/// The file was written by a newer agent.
pub const JOURNAL_NEWER: Code = Code::new("agent_journal.newer", Class::Conflict);
/// The record contradicts what the journal knows of its run.
pub const JOURNAL_CONFLICT: Code = Code::new("agent_journal.conflict", Class::Conflict);
/// The record cannot be written: too large, or not storable as JSON.
pub const JOURNAL_INVALID: Code = Code::new("agent_journal.invalid", Class::Invalid);

/// How large the journal may grow, and how long it remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest file, in bytes. Beyond it the oldest output goes first. Started runs may still write their results,
    /// so the file can pass this by a few KiB. While it is rewritten a second file of up to three quarters of it exists.
    pub file_bytes: u64,
    /// Rewrite once this many bytes are of no use any more (and they are at least as many as those in use).
    pub garbage_bytes: u64,
    /// How many finished runs are remembered, so that a repeated offer is answered and not executed.
    pub finished_runs: usize,
    /// For how long they are remembered.
    pub finished_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            garbage_bytes: 4 << 20,
            finished_runs: 1_024,
            finished_age: Duration::from_secs(7 * 24 * 3_600),
        }
    }
}
