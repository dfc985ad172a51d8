//! Permissions, scopes and the built-in roles.

mod model;
mod rules;

pub use model::{DENIED, Grants, Permission, Scope};
pub use rules::{PermissionEntry, Role};
