//! Permissions and audit actions of users.

use crate::access::{Action, Permission};

/// See users.
pub const USERS_READ: Permission = Permission::new("users:read");
/// Create, change and delete users, set their passwords, end their sessions.
pub const USERS_WRITE: Permission = Permission::new("users:write");

/// A user was created.
pub const CREATE: Action = Action::new("user.create");
/// A user's name, role or state was changed.
pub const SET: Action = Action::new("user.set");
/// A password was set.
pub const SET_PASSWORD: Action = Action::new("user.password.set");
/// A user gave a wrong present password when setting a new one.
pub const SET_PASSWORD_REFUSED: Action = Action::new("user.password.refuse");
/// A user was deleted.
pub const DELETE: Action = Action::new("user.delete");
/// A user was made an administrator who can sign in, by whoever holds the store.
pub const RECOVER: Action = Action::new("user.recover");
