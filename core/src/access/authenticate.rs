//! From a bearer token to who asks.

use std::sync::Arc;

use super::{
    Access, Actor, Context, Grants, Origin, Permission, Scope,
    keys::{self, ApiKey, ApiKeySeen, KeyPurpose, KeyValidity},
    sessions::{self, REQUIRED, SESSION_EXPIRED, Session, SessionSeen, Validity},
    tokens::TokenKind,
    users::User,
};
use crate::{
    kernel::{EntityId, Error, Result},
    store::{Ingest, Query},
};

impl Access {
    /// Who presents this token, and what they may do at this moment: the token of a session or of an API key, without
    /// `Bearer`. Fails with `auth.required` when it proves nothing, with `auth.session_expired` or `auth.key_expired` when
    /// it did once.
    pub async fn authenticate(&self, token: &str, origin: Origin) -> Result<Context> {
        match TokenKind::of(token) {
            Some(TokenKind::Session) => self.by_session(token, origin).await,
            Some(TokenKind::Key) => self.by_key(token, KeyPurpose::Api, origin).await,
            Some(TokenKind::Bootstrap) | None => Err(required()),
        }
    }

    /// Who presents the token of an API key for one purpose, such as a calendar, and of these permissions what they have at this moment.
    /// Fails as [`Access::authenticate`] does, and for a key of another purpose.
    pub async fn authenticate_for(
        &self,
        purpose: KeyPurpose,
        permissions: &[Permission],
        token: &str,
        origin: Origin,
    ) -> Result<Context> {
        match TokenKind::of(token) {
            Some(TokenKind::Key) => {}
            _ => return Err(required()),
        }
        let caller = self.by_key(token, purpose, origin).await?;
        let only = permissions.iter().map(|permission| (*permission, Scope::All));
        Ok(caller.limited_to(&Grants::of(only)))
    }

    async fn by_session(&self, token: &str, origin: Origin) -> Result<Context> {
        let mut reader = self.store().reader().await?;
        let query = Query::<Session>::all().filter(Session::TOKEN_HASH.eq(self.tokens().hash(token)));
        let session = reader.first(&query).await?.ok_or_else(required)?;
        let user = reader.get::<User>(session.user).await?;
        let seen = reader.latest::<SessionSeen>(&[session.id]).await?.pop().flatten();
        let now = self.store().clock().now();
        let judged = sessions::judge(
            &session,
            user.as_ref().map(|user| &user.value),
            seen.map(|seen| seen.at),
            self.session_limits(),
            now,
        );
        let (user, touch) = match (judged, user) {
            (Validity::Valid { touch }, Some(user)) => (user.value, touch),
            (Validity::Expired, _) => return Err(SESSION_EXPIRED.error("this session is over; sign in again")),
            _ => return Err(required()),
        };
        if touch {
            let mut ingest = Ingest::default();
            ingest.set(session.id, &SessionSeen { at: now })?;
            self.touch(ingest).await;
        }
        let grants = Arc::new(user.role.grants(self.permissions()));
        let actor = Actor::User {
            id: user.id.uuid(),
            name: user.name,
        };
        Ok(Context::new(actor, origin, grants).in_session(session.id.uuid()))
    }

    async fn by_key(&self, token: &str, purpose: KeyPurpose, origin: Origin) -> Result<Context> {
        let mut reader = self.store().reader().await?;
        let query = Query::<ApiKey>::all().filter(ApiKey::TOKEN_HASH.eq(self.tokens().hash(token)));
        let key = reader.first(&query).await?.ok_or_else(required)?.value;
        if key.purpose != purpose {
            return Err(required());
        }
        let owner = reader.get::<User>(key.owner).await?;
        let seen = reader.latest::<ApiKeySeen>(&[key.id]).await?.pop().flatten();
        let now = self.store().clock().now();
        let judged = keys::judge(&key, owner.as_ref().map(|owner| &owner.value), seen.as_ref(), now);
        let (owner, touch) = match (judged, owner) {
            (KeyValidity::Valid { touch }, Some(owner)) => (owner.value, touch),
            (KeyValidity::Expired, _) => return Err(keys::EXPIRED.error("this API key is not valid any more")),
            _ => return Err(required()),
        };
        if touch {
            let mut ingest = Ingest::default();
            let address = origin.address.clone();
            ingest.set(key.id, &ApiKeySeen { at: now, address })?;
            self.touch(ingest).await;
        }
        // What the owner may at this moment, not when the key was made.
        let grants = key
            .role
            .grants(self.permissions())
            .intersect(&owner.role.grants(self.permissions()));
        let actor = Actor::Key {
            id: key.id.uuid(),
            name: key.name,
        };
        Ok(Context::new(actor, origin, Arc::new(grants)).on_behalf_of(owner.id.uuid()))
    }

    /// Notes a use. A store that cannot write right now must not keep people from reading.
    async fn touch(&self, ingest: Ingest) {
        if let Err(error) = self.store().ingest(ingest).await {
            tracing::warn!(error = error.log(), "the use of a credential could not be noted");
        }
    }
}

fn required() -> Error {
    REQUIRED.error("sign in first, or present a valid API key")
}
