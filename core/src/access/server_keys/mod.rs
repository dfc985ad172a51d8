//! The server's own keys, sealed in the store so that migration and several servers share them.

mod model;
mod rules;
mod service;

pub use model::{ServerKey, ServerKeyId};
pub use rules::{MASTER_KEY_WRONG, SEALED_DAMAGED};
pub use service::{CREATE, Dispatch, ROTATE, ServerKeys};
