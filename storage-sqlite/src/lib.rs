//! **fleet-storage-sqlite**: the default backend of fleet, one SQLite file used by one process.
//!
//! ```text
//!   SqliteStore (store.rs)      the contract: checks a call, hands it on
//!     ├─ writer/                one task, one connection: takes all that waits, one transaction, one COMMIT, then answers
//!     │    facts ─▶ core's group::decide ─▶ effects
//!     ├─ read/                  a few read-only connections; a view is one read transaction with a time limit
//!     │    plan (filter ─▶ statement) · view · export
//!     ├─ feed.rs                catches up from the table, then follows
//!     └─ upkeep/                prepare, import, check
//!   file.rs                     lock, permissions, refusal of foreign, damaged and newer files
//!   sql.rs · tables.rs · pack.rs    every statement that there is; nothing foreign ever becomes text of one
//! ```
//!
//! A commit is acknowledged after `COMMIT` with `synchronous=FULL` in WAL mode, that is, after the log was synchronised with
//! the disk. Concurrent writers share that synchronisation: their work is decided together by one pure function of core and
//! stored with a few statements, each fed by one JSON array, because every call to the engine crosses threads.

#![warn(missing_docs)]

mod error;
mod feed;
mod file;
mod lease;
mod options;
mod pack;
mod read;
mod sql;
mod store;
mod tables;
mod upkeep;
mod writer;

pub use options::{SqliteOptions, Synchronous};
pub use store::{SqliteStore, Statistics};
