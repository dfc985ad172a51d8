//! Local user accounts.

use serde::{Deserialize, Serialize};

/// Local user accounts (section `users`). Nothing of a password ever leaves the device but whether it is locked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Users {
    /// The accounts, by numeric id and name.
    pub items: Vec<LocalUser>,
    /// There were more than fit.
    #[serde(default)]
    pub truncated: bool,
    /// How many were left out.
    #[serde(default)]
    pub left_out: u64,
}

/// One account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LocalUser {
    /// The account's name.
    pub name: String,
    /// The numeric user id.
    pub uid: u32,
    /// The numeric id of the first group.
    pub gid: u32,
    /// The home directory.
    pub home: String,
    /// The login shell; empty means the system's default.
    pub shell: String,
    /// A system account: a numeric id outside the range that the device gives to people (login.defs(5)).
    pub system: bool,
    /// Whether its password is locked.
    pub locked: LockState,
    /// The names of all groups that it is in, sorted; at most 256.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// Whether a password is locked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LockState {
    /// The agent could not read it.
    #[default]
    Unknown,
    /// No password can match.
    Locked,
    /// A password, possibly an empty one, lets in.
    Unlocked,
}
