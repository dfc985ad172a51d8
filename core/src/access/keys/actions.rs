//! Permissions and audit actions of API keys.

use crate::access::{Action, Permission};

/// See the API keys of others.
pub const KEYS_READ: Permission = Permission::new("keys:read");
/// Create API keys for others and revoke theirs.
pub const KEYS_WRITE: Permission = Permission::new("keys:write");

/// An API key was created.
pub const CREATE: Action = Action::new("api_key.create");
/// An API key was revoked.
pub const REVOKE: Action = Action::new("api_key.revoke");
