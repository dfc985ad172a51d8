//! Who asks, from where, and with which grants. Every use case takes one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DENIED, Grants, Permission, Scope, sessions::REQUIRED, users::UserId};
use crate::kernel::{EntityId as _, Result};

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
    user: Option<Uuid>,
    session: Option<Uuid>,
}

impl Context {
    /// A request of an actor.
    pub fn new(actor: Actor, origin: Origin, grants: Arc<Grants>) -> Self {
        let user = match &actor {
            Actor::User { id, .. } => Some(*id),
            _ => None,
        };
        Self {
            actor,
            origin,
            grants,
            user,
            session: None,
        }
    }

    /// The same, for the user that a key belongs to.
    #[must_use]
    pub fn on_behalf_of(mut self, user: Uuid) -> Self {
        self.user = Some(user);
        self
    }

    /// The same, within a session.
    #[must_use]
    pub fn in_session(mut self, session: Uuid) -> Self {
        self.session = Some(session);
        self
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

    /// With no more than these grants.
    #[must_use]
    pub(crate) fn limited_to(mut self, grants: &Grants) -> Self {
        self.grants = Arc::new(self.grants.intersect(grants));
        self
    }

    /// Who asks.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// From where.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The user who answers for it: the one who is signed in, or the owner of the key.
    pub fn user(&self) -> Option<Uuid> {
        self.user
    }

    /// The session, when somebody is signed in through one.
    pub fn session(&self) -> Option<Uuid> {
        self.session
    }

    /// The grants.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// The user who is signed in as a person. A key acts for its owner, but is not the owner: it manages neither the
    /// owner's password nor sessions nor keys.
    pub fn signed_in(&self) -> Result<UserId> {
        match &self.actor {
            Actor::User { id, .. } => Ok(UserId::from_uuid(*id)),
            Actor::Anonymous => Err(REQUIRED.error("sign in first")),
            _ => Err(DENIED.error("only a user who is signed in may do this, not a key")),
        }
    }

    /// The scope in which the actor has a permission, or a refusal that names it.
    pub fn require(&self, permission: Permission) -> Result<Scope> {
        self.grants.require(permission)
    }
}
