//! People: who may sign in, with which role.

mod actions;
mod hasher;
mod model;
mod password;
mod recover;
mod rules;
mod service;

pub use actions::{CREATE, DELETE, RECOVER, SET, SET_PASSWORD, SET_PASSWORD_REFUSED, USERS_READ, USERS_WRITE};
pub(crate) use hasher::Hasher;
pub use model::{NewUser, User, UserChange, UserFilter, UserId, UserView};
pub use password::{Password, PasswordHash};
pub use recover::Recovered;
pub use rules::{LAST_ADMIN, NOT_FOUND};
pub(crate) use rules::{check_password, fold_name};
pub use service::Users;
pub(crate) use service::{Hashed, insert};
