//! The first administrator, by a one-time token that the server prints while there is no user.

mod model;
mod service;

pub use model::{BootstrapId, BootstrapToken};
pub use service::{BOOTSTRAP_INVALID, Bootstrap, CLAIM, Claim, OFFER, REFUSE};
