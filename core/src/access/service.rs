//! The door to everything about people: what the services of this part share.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Actor, BearerToken, Context, DENIED, PermissionEntry, Role,
    bootstrap::{Bootstrap, Claim},
    keys::ApiKeys,
    sessions::{Limits, SessionId, Sessions},
    settings::{SESSION_IDLE, SESSION_LIFETIME},
    tokens::TokenKey,
    users::{Hasher, User, UserId, UserView, Users},
};
use crate::{
    kernel::{EntityId, Result},
    settings::Settings,
    store::Store,
};

/// Users, sessions, API keys and the first administrator. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    permissions: Vec<PermissionEntry>,
    settings: Settings,
    tokens: TokenKey,
    hasher: Hasher,
}

/// Who asks, and what they may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Identity {
    /// Who asks.
    pub actor: Actor,
    /// The user who is signed in, or who owns the key.
    pub user: Option<UserView>,
    /// The session, when there is one.
    pub session: Option<SessionId>,
    /// The permissions, by name.
    pub permissions: Vec<String>,
}

impl Access {
    pub(crate) fn new(store: Store, permissions: Vec<PermissionEntry>, settings: Settings, tokens: TokenKey) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                permissions,
                settings,
                tokens,
                hasher: Hasher::new(),
            }),
        }
    }

    /// Use cases of users.
    pub fn users(&self) -> Users<'_> {
        Users::new(self)
    }

    /// Use cases of sessions.
    pub fn sessions(&self) -> Sessions<'_> {
        Sessions::new(self)
    }

    /// Use cases of API keys.
    pub fn keys(&self) -> ApiKeys<'_> {
        ApiKeys::new(self)
    }

    /// A token that creates the first administrator, to be printed; none once there is a user. Each call replaces the token
    /// before.
    pub async fn bootstrap_token(&self) -> Result<Option<BearerToken>> {
        Bootstrap::new(self).token().await
    }

    /// Creates the first administrator.
    pub async fn claim(&self, claim: Claim) -> Result<UserView> {
        Bootstrap::new(self).claim(claim).await
    }

    /// Who asks, and what they may do.
    pub async fn identity(&self, context: &Context) -> Result<Identity> {
        let user = match context.user() {
            Some(id) => self.store().get::<User>(UserId::from_uuid(id)).await?,
            None => None,
        };
        Ok(Identity {
            actor: context.actor().clone(),
            user: user.map(Into::into),
            session: context.session().map(SessionId::from_uuid),
            permissions: context.grants().names().into_iter().map(str::to_owned).collect(),
        })
    }

    /// Refuses when the actor gives, or has power over, more than they themselves have.
    pub(super) fn may_grant(&self, context: &Context, role: Role) -> Result<()> {
        if context.grants().covers(&role.grants(&self.inner.permissions)) {
            Ok(())
        } else {
            Err(DENIED.error(format!(
                "the role {} may do more than you may; nobody gives more than they have",
                role.name()
            )))
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(super) fn permissions(&self) -> &[PermissionEntry] {
        &self.inner.permissions
    }

    pub(super) fn tokens(&self) -> &TokenKey {
        &self.inner.tokens
    }

    pub(super) fn hasher(&self) -> &Hasher {
        &self.inner.hasher
    }

    pub(super) fn session_limits(&self) -> Limits {
        Limits {
            lifetime: self.inner.settings.get(&SESSION_LIFETIME).duration(),
            idle: self.inner.settings.get(&SESSION_IDLE).duration(),
        }
    }
}
