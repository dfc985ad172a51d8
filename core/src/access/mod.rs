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
//!
//! ```
//! # use std::sync::Arc;
//! # use fleet_core::{Fleet, access::{bootstrap::Claim, sessions::Login}, kernel::*, store::memory::MemoryStore};
//! use fleet_core::{access::Origin, devices::DEVICES_WRITE};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! # let backend = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
//! # let fleet = Fleet::builder(backend, MasterKey::generate(&SystemRandom)).open().await?;
//! # let access = fleet.access();
//! // While there is no user, a one-time token makes the first administrator.
//! let token = access.bootstrap_token().await?.unwrap();
//! let (name, password) = ("ann".to_owned(), "correct horse battery".into());
//! access.claim(Claim { token: token.expose().into(), name: name.clone(), password, origin: Origin::default() }).await?;
//! assert!(access.bootstrap_token().await?.is_none());
//!
//! // Signing in gives a token, and a token gives the context that every use case takes.
//! let login = Login { name, password: "correct horse battery".into(), origin: Origin::default(), user_agent: None };
//! let signed_in = access.sessions().login(login).await?;
//! let context = access.authenticate(signed_in.token.expose(), Origin::default()).await?;
//! assert!(context.require(DEVICES_WRITE).is_ok());
//! # Ok(())
//! # }
//! ```

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
pub use tokens::{BearerToken, TokenHash, TokenKey};

#[cfg(test)]
mod tests;
