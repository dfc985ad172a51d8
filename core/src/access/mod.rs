//! People and what they may do, and the audit of it all.
//!
//! ```text
//!   users/        who may sign in; passwords                 bootstrap/    the first administrator
//!   sessions/     signing in and out, the lockout ladder     keys/         API keys
//!   authenticate  token in, Context out                      permissions/  permissions, roles, scopes
//!   server_keys/  the server's own keys, sealed              audit/        the chained lane
//! ```
//!
//! [`Access`] is the door to the use cases; each of them takes a [`Context`] and commits its audit row with its change.

pub mod audit;
mod authenticate;
pub mod bootstrap;
mod context;
pub mod keys;
mod module;
mod permissions;
pub mod server_keys;
mod service;
pub mod sessions;
pub mod settings;
mod tokens;
pub mod users;

pub use audit::{Action, AuditEntry, Outcome, Subject};
pub use context::{Actor, Context, Origin};
pub use module::module;
pub use permissions::{DENIED, Grants, Permission, PermissionEntry, Role, Scope};
pub use service::{Access, Identity};
pub use tokens::{BearerToken, TokenHash};

#[cfg(test)]
mod tests;
