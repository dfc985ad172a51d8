//! **The storage conformance suite**: what every storage backend of fleet runs, ours and yours.
//!
//! # Testing a backend of your own
//!
//! Say how a store is opened, and expand two macros in `tests/conformance.rs` of your crate:
//!
//! ```
//! use std::sync::Arc;
//!
//! use fleet_core::{kernel::{ManualClock, Timestamp}, store::memory::MemoryStore};
//! use fleet_storage_conformance::{Guard, Harness, Opened, async_trait};
//!
//! struct Mine;
//!
//! #[async_trait]
//! impl Harness for Mine {
//!     // A new, empty, unprepared store for each case: cases run at the same time, each on its own. The guard (here: nothing)
//!     // is what keeps its resources, such as a `tempfile::TempDir`; it is dropped at the end of the case.
//!     async fn open(&self) -> Opened {
//!         let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000_000)));
//!         Opened::new(MemoryStore::new(clock.clone()), ()).with_clock(clock)
//!     }
//!
//!     // A durable backend answers `true` to `reopens` and opens what the guard keeps once more in `reopen`.
//!     fn reopens(&self) -> bool { false }
//! }
//!
//! fleet_storage_conformance::conformance_tests!(Mine); // one #[test] per case, named group::case
//! fleet_storage_conformance::model_test!(Mine);        // drawn sequences, compared with MemoryStore
//! fleet_storage_conformance::histories_test!(Mine);    // clients at once, explained by one order
//! # fn main() {}
//! ```
//!
//! What a backend cannot do (reopen, take a clock) is skipped, and each skipped case says so on standard error. Everything else
//! is required; there are no levels of conformance. A case ends with `check()`, which must find nothing.
//!
//! The model test draws sequences of commits, ingests, queries, trims, compactions, leases and reopenings over a small key
//! space; the backend and [`MemoryStore`](fleet_core::store::memory::MemoryStore) must give equal answers, equal errors
//! (by variant) and equal export digests. Some of them run at the same time. `CONFORMANCE_SEQUENCES` says how many (64 by default), `CONFORMANCE_SEED` where to
//! begin (1 by default); sequence *i* has the seed `CONFORMANCE_SEED + i`, and a failure prints the line that repeats it.
//!
//! # Moving data between backends
//!
//! [`migration_tests!`] runs the migration suite between two harnesses: once for each directed pair that should work.
//!
//! Ten thousand sequences are the long mode: `CONFORMANCE_SEQUENCES=10000 cargo test -p YOUR-CRATE --test conformance
//! answers_like_the_model`.
//!
//! The histories test lets several clients do drawn things at once, and explains all their answers by one order of commits
//! (`histories/mod.rs` says how). `CONFORMANCE_ROUNDS` says how many histories (24 by default), `CONFORMANCE_SEED` where to
//! begin.
//!
//! A backend whose views end by themselves also runs [`check_export_outlives_the_limit_of_views`], on a store with a short limit:
//! backups read a whole store from one view.
//!
//! # Map
//!
//! [`Harness`] opens stores · [`CASES`] is the list of cases, made in one place (`cases/mod.rs`) · `dsl.rs` and `ask.rs` are
//! the small language that they are written in · `model.rs` is the model test ·
//! [`MOVE_CASES`] and `moves/` are the migration suite. The suite itself is tested by `tests/broken`:
//! eighty backends, each broken on purpose in one way, each caught by a named case.

#![warn(missing_docs)]
// A failed expectation is a failed test: panicking is what this crate is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ask;
mod cases;
mod dsl;
pub mod durability;
mod harness;
mod histories;
mod model;
mod moves;
mod random;
mod run;
mod slow;

pub use async_trait::async_trait;

pub use self::{
    cases::CASES,
    dsl::schema,
    harness::{Guard, Harness, Opened},
    histories::check_histories,
    model::check_model,
    moves::{MOVE_CASES, MoveCase, Pair, Tap, Tapped, run_move_case, try_move_case},
    run::{Case, Lab, run_case, try_case},
    slow::check_export_outlives_the_limit_of_views,
};
