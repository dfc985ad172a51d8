//! The server's own keys, sealed in the store so that migration and several servers share them.

mod model;
mod rules;
mod service;

pub use model::{DispatchKey, ServerKey, ServerKeyId};
pub use rules::{MASTER_KEY_WRONG, SEALED_DAMAGED};
pub use service::{CREATE, DISPATCH_KEY_READ, DISPATCH_KEY_ROTATE, Dispatch, HANDED_OVER_LATELY, ROTATE, ServerKeys};
