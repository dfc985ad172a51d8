//! Audit actions of sessions.

use crate::access::Action;

/// Somebody signed in.
pub const LOGIN: Action = Action::new("auth.login");
/// A sign-in was refused.
pub const LOGIN_REFUSED: Action = Action::new("auth.login.refuse");
/// An account was locked for a while, after too many failures.
pub const LOCK: Action = Action::new("auth.lock");
/// Somebody signed out.
pub const LOGOUT: Action = Action::new("auth.logout");
/// A session was revoked.
pub const REVOKE: Action = Action::new("session.revoke");
/// All sessions of a user were revoked.
pub const REVOKE_ALL: Action = Action::new("session.revoke_all");
