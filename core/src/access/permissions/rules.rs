//! The built-in roles.

use serde::{Deserialize, Serialize};

use super::{Grants, Permission, Scope};
use crate::store::{ToColumn, Value};

/// A built-in role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Sees everything of devices and runs work on them; does not manage people, keys of others or the audit.
    Operator,
    /// Sees devices and their work; changes nothing.
    Viewer,
}

impl Role {
    /// All roles, from the mightiest down.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Operator, Self::Viewer];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }

    /// The role of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// What the role grants, out of the permission table.
    pub fn grants(self, table: &[PermissionEntry]) -> Grants {
        Grants::of(
            table
                .iter()
                .filter(|entry| self <= entry.least)
                .map(|entry| (entry.permission, Scope::All)),
        )
    }
}

/// One line of the permission table: a permission, what it allows, and the least role that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermissionEntry {
    /// The permission.
    pub permission: Permission,
    /// What it allows, in a few words.
    pub allows: &'static str,
    /// The least of the built-in roles that has it; those above have it too.
    pub least: Role,
}

impl ToColumn for Role {
    fn to_values(&self) -> Vec<Value> {
        vec![self.name().into()]
    }
}
