//! Who asks, from where, and with which grants. Every use case takes one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Grants, Permission, Scope};
use crate::kernel::Result;

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Actor {
    /// A person who is signed in.
    User {
        /// The user.
        id: Uuid,
        /// The user's name at that time.
        name: String,
    },
    /// An API key.
    Key {
        /// The key.
        id: Uuid,
        /// The key's name at that time.
        name: String,
    },
    /// A device, by its own key.
    Device {
        /// The device.
        id: Uuid,
        /// The device's name at that time.
        name: String,
    },
    /// The server itself.
    System {
        /// Which part of it: the name of a job, or `setup`.
        part: String,
    },
    /// Nobody who could be recognised, as in a failed sign-in.
    Anonymous,
}

impl Actor {
    /// The id, where the actor has one.
    pub fn id(&self) -> Option<Uuid> {
        match self {
            Self::User { id, .. } | Self::Key { id, .. } | Self::Device { id, .. } => Some(*id),
            Self::System { .. } | Self::Anonymous => None,
        }
    }

    /// The name that people read.
    pub fn name(&self) -> &str {
        match self {
            Self::User { name, .. } | Self::Key { name, .. } | Self::Device { name, .. } => name,
            Self::System { part } => part,
            Self::Anonymous => "anonymous",
        }
    }
}

/// Where a request came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Origin {
    /// The client's address, as far as it is known.
    pub address: Option<String>,
    /// The id of the request, to find it in the log.
    pub request_id: Option<String>,
}

/// Who asks, from where, with which grants.
#[derive(Clone, Debug)]
pub struct Context {
    actor: Actor,
    origin: Origin,
    grants: Arc<Grants>,
}

impl Context {
    /// A request of an actor.
    pub fn new(actor: Actor, origin: Origin, grants: Arc<Grants>) -> Self {
        Self { actor, origin, grants }
    }

    /// The server itself, which may do everything that it is programmed to do.
    pub fn system(part: &str) -> Self {
        Self::new(
            Actor::System { part: part.to_owned() },
            Origin::default(),
            Arc::new(Grants::everything()),
        )
    }

    /// Somebody who has proved nothing yet.
    pub fn anonymous(origin: Origin) -> Self {
        Self::new(Actor::Anonymous, origin, Arc::new(Grants::default()))
    }

    /// Who asks.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// From where.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The grants.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// The scope in which the actor has a permission, or a refusal that names it.
    pub fn require(&self, permission: Permission) -> Result<Scope> {
        self.grants.require(permission)
    }
}
