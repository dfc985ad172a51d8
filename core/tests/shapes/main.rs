//! The shapes that others depend on: what travels between server and agent, and what stands on disks.
//!
//! ```text
//!   frames, signed, reports    the wire, a snapshot per family
//!   access, agents, devices, escrow, inventory, secrets, settings, work    the bodies and index values that reach the store, a snapshot per module
//!   schema                     what is declared: kinds, columns, indexes, lanes, latest values
//!   corpus                     ../corpus/v*/: examples of every body that was ever stored; all of them must stay readable
//! ```
//!
//! A shape that changed on purpose is written anew, and the change explained in the commit, with
//!
//! ```console
//! $ INSTA_UPDATE=always cargo test -p fleet-core --test shapes
//! ```

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod access;
mod agents;
mod corpus;
mod desired;
mod devices;
mod escrow;
mod frames;
mod inventory;
mod reports;
mod sample;
mod schema;
mod secrets;
mod settings;
mod signed;
mod storage;
mod upkeep;
mod values;
mod work;
