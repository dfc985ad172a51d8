//! API keys: how programs act for a user.

mod actions;
mod model;
mod rules;
mod service;

pub use actions::{CREATE, KEYS_READ, KEYS_WRITE, REVOKE};
pub use model::{ApiKey, ApiKeyId, ApiKeySeen, ApiKeyView, CreatedKey, KeyPurpose, NewApiKey};
pub use rules::{EXPIRED, NOT_FOUND, TOO_MANY};
pub(crate) use rules::{KeyValidity, judge};
pub use service::ApiKeys;
pub(crate) use service::remove_all;
