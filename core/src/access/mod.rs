//! People and what they may do: actors, roles and permissions, users, sessions and keys, and the audit of it all.

pub mod audit;
mod context;
mod module;
mod permissions;

pub use audit::{Action, AuditEntry, Outcome, Subject};
pub use context::{Actor, Context, Origin};
pub use module::module;
pub use permissions::{DENIED, Grants, Permission, PermissionEntry, Role, Scope};
