//! What only this backend has: several servers on one database, a pooler between, connections that break, a server that dies,
//! partitions, views for people.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what a test stands on must not fail"
)]

#[path = "../common/mod.rs"]
mod common;

mod breaks;
mod database;
mod dump;
mod filling;
mod format;
mod load;
mod partitions;
mod pooler;
mod two;
mod views;
