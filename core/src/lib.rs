//! **fleet-core**: the domain of fleet, its storage contract and its services. It opens no sockets, reads no files, knows no
//! SQL and prints nothing: what it needs from outside is handed in.
//!
//! Begin with [`Fleet`], the façade over everything.

#![warn(missing_docs)]

// The derive macro names this crate by its public path, also from within.
extern crate self as fleet_core;

pub mod access;
pub mod agents;
pub mod blobs;
pub mod certificates;
pub mod devices;
pub mod escrow;
mod fleet;
mod gathering;
pub mod jobs;
pub mod kernel;
pub mod link;
pub mod live;
pub mod modules;
pub mod protocol;
pub mod retention;
pub mod search;
pub mod settings;
pub mod storage;
pub mod store;
pub mod work;

pub use fleet::{Fleet, FleetBuilder};
pub use fleet_core_derive::Entity;
