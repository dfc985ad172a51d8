//! **fleet-storage-json**: a backend of readable files, one folder used by one process, with everything in memory.
//!
//! ```text
//!   JsonStore (store.rs)        the contract: checks a call, hands it to the writer or reads the published state
//!     ├─ writer/                one thread: takes all that waits, decides in memory, one write, one sync, then answers
//!     │    prepare (snapshot + journal ─▶ state) · checkpoints (when and by whom)
//!     ├─ journal/               one line for each thing accepted; scan tells a torn end from damage
//!     ├─ snapshot/              one file for each part of the state: write, read, which parts are dirty
//!     └─ upkeep/                check, repair
//!   manifest.rs                 what the snapshot consists of; replacing it is the switch
//!   place.rs · layout.rs        the folder and its lock; where what stands
//!   line.rs · records.rs        one line: checksum and record
//!   files/                      every file operation, behind a trait that tests replace
//! ```
//!
//! The folder:
//!
//! ```text
//!   LOCK                                 held while the store is open
//!   MANIFEST.json                        format, schema, place in commit order, first line of the journal that counts, files
//!   kinds/device.7.ndjson                one document a line, by id; 7 is the checkpoint that wrote the file
//!   latest/device_state.9.ndjson         latest values, by id
//!   lanes/audit/2026-11-21.9.ndjson      rows of one day, by time
//!   order/feed.0.9.ndjson                the feed, 16,384 commits a file; batches and leases beside it
//!   journal/00000000000000000042.ndjson  what happened since, one line each, by the number of the first
//! ```
//!
//! Truth is the snapshot that the manifest names, and the journal behind it. A call is acknowledged after its line was
//! synchronised with the disk; concurrent calls share that synchronisation. A view is a copy of the state, which costs next to
//! nothing, so that readers and checkpoints never keep the writer waiting.

#![warn(missing_docs)]

mod catalogue;
mod error;
pub mod files;
mod journal;
mod layout;
mod line;
mod manifest;
mod options;
mod pieces;
mod place;
mod records;
mod relocate;
mod snapshot;
mod store;
mod upkeep;
mod writer;

pub use options::JsonOptions;
pub use store::{JsonStore, Statistics};
pub use upkeep::{Repair, repair, repair_on};
