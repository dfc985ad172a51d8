//! **fleet-storage-postgres**: the backend for several servers at once, on PostgreSQL 14 or later.
//!
//! ```text
//!   PostgresStore (store.rs)    the contract: checks a call, hands it on
//!     ├─ writer/                two tasks, a connection each: one for commits, one for ingests. Each takes all that waits, one
//!     │    facts ─▶ core's group::decide ─▶ effects     transaction, one COMMIT, then answers
//!     ├─ read/                  connections that read; a view is one read transaction with a time limit
//!     │    plan (filter ─▶ statement) · view · records
//!     ├─ feed.rs · watch.rs     catches up from the table, then follows; servers wake each other, and ask once a second
//!     ├─ lease.rs
//!     └─ upkeep/                prepare, views for people, partitions, import, check
//!   server.rs                   the address, and what the database has to be
//!   sql.rs · copy.rs · tables/  every statement that there is; nothing foreign ever becomes text of one
//! ```
//!
//! A commit is acknowledged after `COMMIT`, synchronised with the disk unless the database is set to do without (then
//! [`Info::durable`](fleet_core::store::Info) says so). Nothing outlives its transaction on a connection — no named statement, no
//! session lock, no setting — so that a pooler in transaction mode may stand between; only listening needs a connection of its
//! own ([`Listen`]).
//!
//! How several servers stay right on one database is told in `tables/fixed.rs`: one lock that everybody passes, one row that is
//! commit order.
//!
//! # The views for people
//!
//! Beside the namespace of the store (`fleet`) stands one with views (`fleet_read`), made again whenever the schema changes:
//! a view for each kind (`device`: id, rev, a column for each declared column, many-valued ones as arrays, `body` as `jsonb`),
//! one for each lane (`sample_rows`: stream, `time` as `timestamptz`, at, n, columns, body) and one for each set of latest
//! values (`state_latest`). Filter rows by `at` (microseconds since 1970), which has the index. Grants go to the namespace:
//! `GRANT USAGE ON SCHEMA fleet_read TO grafana; ALTER DEFAULT PRIVILEGES IN SCHEMA fleet_read GRANT SELECT ON TABLES TO grafana`.

#![warn(missing_docs)]

mod copy;
mod error;
mod feed;
mod lease;
mod options;
mod read;
mod server;
mod sql;
mod store;
mod tables;
mod upkeep;
mod watch;
mod writer;

pub use options::{LeaseClock, Listen, PostgresOptions};
pub use store::{PostgresStore, Statistics};
