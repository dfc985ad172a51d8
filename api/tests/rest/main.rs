//! The REST API as a whole: what its document says, who may do what, and what everybody can rely on.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may panic; clippy.toml allows it only in the tests themselves"
)]

#[path = "../support/mod.rs"]
mod support;

mod access_matrix;
mod audit_trail;
mod blobs;
mod desired;
mod document;
mod downloads;
mod keys;
mod lists;
mod operations;
mod plans;
mod promotions;
mod releases;
mod rollouts;
mod secrets;
mod settings;
mod sign_in;
mod users;
mod windows;
