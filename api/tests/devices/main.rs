//! Devices over the whole router: what people ask for and what agents send, as data in and data out. What is refused is a
//! coded problem, and nothing is written.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may panic; clippy.toml allows it only in the tests themselves"
)]

#[path = "../support/mod.rs"]
mod support;
mod world;

mod assertions;
mod device;
mod enrolment;
mod groups;
mod inventory;
mod labels;
mod live;
mod packages;
mod reports;
mod session_keys;
mod sockets;
mod tokens;
