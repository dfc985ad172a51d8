//! A user as it is stored, and as it is shown.

use serde::{Deserialize, Serialize};

use super::{Password, PasswordHash};
use crate::{
    Entity,
    access::Role,
    kernel::Timestamp,
    search,
    store::{Rev, Versioned},
};

crate::define_id!(
    /// Names a user.
    UserId,
    "user"
);

/// A person who may sign in, as it is stored. It holds the password's hash: show a [`UserView`] instead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "user", version = 1)]
#[entity(computed(terms, text, many, with = User::terms))]
#[entity(index = "role, disabled")]
pub struct User {
    /// Its id.
    #[entity(id)]
    pub id: UserId,
    /// The name to sign in with, in lower case; unique.
    #[entity(text, unique)]
    pub name: String,
    /// The name that people read.
    pub display_name: String,
    /// What the user may do.
    #[entity(text)]
    pub role: Role,
    /// Whether the user may not sign in any more.
    #[entity(int)]
    pub disabled: bool,
    /// The hash of the password; none while no password is set.
    pub password_hash: Option<PasswordHash>,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When the password was set last.
    pub password_changed_at: Option<Timestamp>,
    /// Sessions of an earlier version are over.
    pub session_version: u32,
}

impl User {
    fn terms(&self) -> Vec<String> {
        search::terms([self.name.as_str(), self.display_name.as_str()])
    }
}

/// A user as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserView {
    /// Its id.
    pub id: UserId,
    /// The name to sign in with, in lower case.
    pub name: String,
    /// The name that people read.
    pub display_name: String,
    /// What the user may do.
    pub role: Role,
    /// Whether the user may not sign in any more.
    pub disabled: bool,
    /// Whether a password is set.
    pub has_password: bool,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When the password was set last.
    pub password_changed_at: Option<Timestamp>,
    /// The revision, for conditional changes; travels as the ETag.
    #[serde(skip)]
    pub revision: Rev,
}

impl UserView {
    pub(crate) fn new(user: &User, revision: Rev) -> Self {
        Self {
            id: user.id,
            name: user.name.clone(),
            display_name: user.display_name.clone(),
            role: user.role,
            disabled: user.disabled,
            has_password: user.password_hash.is_some(),
            created_at: user.created_at,
            password_changed_at: user.password_changed_at,
            revision,
        }
    }
}

impl From<Versioned<User>> for UserView {
    fn from(user: Versioned<User>) -> Self {
        Self::new(&user.value, user.rev)
    }
}

/// A user to be created.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"name": "grace", "display_name": "Grace Hopper", "role": "operator", "password": "correct horse battery staple"})))]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name to sign in with: 1 to 64 of `a-z 0-9 . _ - @ +`, beginning with a letter or digit. Upper case is folded.
    pub name: String,
    /// The name that people read, 1 to 128 characters; the name itself when absent.
    #[serde(default)]
    pub display_name: Option<String>,
    /// What the user may do.
    pub role: Role,
    /// The password, 12 to 256 characters; without one the user cannot sign in until one is set.
    #[serde(default)]
    pub password: Option<Password>,
}

/// What is to be changed of a user; what is absent stays.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"role": "viewer"})))]
#[serde(deny_unknown_fields, default)]
pub struct UserChange {
    /// A new name to sign in with.
    pub name: Option<String>,
    /// A new name for people to read.
    pub display_name: Option<String>,
    /// Another role.
    pub role: Option<Role>,
    /// Whether the user may not sign in; setting it ends all of the user's sessions.
    pub disabled: Option<bool>,
}

/// Which users are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserFilter {
    /// Only of this role.
    pub role: Option<Role>,
    /// Only those that may not, or may, sign in.
    pub disabled: Option<bool>,
    /// Only those in whose names every word is the beginning of some word.
    pub search: Option<String>,
}
