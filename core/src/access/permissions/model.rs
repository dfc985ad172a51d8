//! What may be granted, and within which scope.

use std::{collections::BTreeMap, fmt};

use crate::kernel::{Class, Code, Result};

/// The actor lacks a permission.
pub const DENIED: Code = Code::new("access.denied", Class::Denied);

/// A permission: a constant of the module that owns it, such as `devices:read`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Permission(&'static str);

impl Permission {
    /// Declares a permission as `resource:verb`.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The devices for which a permission holds. What is out of scope is *not found*.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// All devices, and everything that belongs to no device.
    All,
}

impl Scope {
    /// Refuses a narrower scope where only an unlimited one will do, as for the audit of everybody.
    pub fn require_all(&self, _permission: Permission) -> Result<()> {
        match self {
            Self::All => Ok(()),
        }
    }
}

/// What an actor may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    everything: bool,
    permissions: BTreeMap<Permission, Scope>,
}

impl Grants {
    /// Everything: for the server itself.
    pub(crate) fn everything() -> Self {
        Self {
            everything: true,
            permissions: BTreeMap::new(),
        }
    }

    /// These permissions.
    pub fn of(permissions: impl IntoIterator<Item = (Permission, Scope)>) -> Self {
        Self {
            everything: false,
            permissions: permissions.into_iter().collect(),
        }
    }

    /// The names of what is granted, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        self.permissions.keys().map(|permission| permission.name()).collect()
    }

    /// The scope of a permission, or a refusal that names it.
    pub fn require(&self, permission: Permission) -> Result<Scope> {
        if self.everything {
            return Ok(Scope::All);
        }
        self.permissions
            .get(&permission)
            .cloned()
            .ok_or_else(|| DENIED.error(format!("this needs the permission {}", permission.name())))
    }

    /// Whether everything that `other` grants is granted here too: nobody gives away what they do not have.
    pub fn covers(&self, other: &Self) -> bool {
        // There is one scope; a narrower one will have to be compared here.
        self.everything
            || !other.everything
                && other
                    .permissions
                    .keys()
                    .all(|permission| self.permissions.contains_key(permission))
    }

    /// What is granted by both: a key can do no more than its owner.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        match (self.everything, other.everything) {
            (true, _) => other.clone(),
            (_, true) => self.clone(),
            _ => Self::of(
                self.permissions
                    .iter()
                    .filter(|(permission, _)| other.permissions.contains_key(permission))
                    .map(|(permission, scope)| (*permission, scope.clone())),
            ),
        }
    }
}
