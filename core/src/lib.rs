//! **fleet-core**: the domain of fleet, its storage contract and its services. It opens no sockets, reads no files, knows no
//! SQL and prints nothing: what it needs from outside is handed in.

#![warn(missing_docs)]

pub mod kernel;
pub mod store;
