//! Use cases of sessions.

use super::{
    Attempt, CREDENTIALS_INVALID, LOGIN, LOGIN_REFUSED, LOGOUT, Login, NOT_FOUND, REVOKE, REVOKE_ALL, Session,
    SessionId, SessionSeen, SessionView, SignedIn, Validity, judge, pass,
    rules::{MAX_PER_USER, view},
    verify,
};
use crate::{
    access::{
        Access, Actor, BearerToken, Context, Grants,
        tokens::TokenKind,
        users::{USERS_READ, USERS_WRITE, User, UserId, UserView, fold_name},
    },
    kernel::{EntityId, Error, MAX_LIMIT, Page, PageRequest, Result},
    store::{Evidence, Query, Tx, Versioned, limits},
};

/// Use cases of sessions.
#[derive(Clone, Copy, Debug)]
pub struct Sessions<'a> {
    access: &'a Access,
}

impl<'a> Sessions<'a> {
    pub(crate) fn new(access: &'a Access) -> Self {
        Self { access }
    }

    /// Signs in. Fails with `auth.credentials_invalid`, whatever was wrong, or with `auth.locked` after too many failures.
    pub async fn login(&self, login: Login) -> Result<SignedIn> {
        let store = self.access.store();
        let name = fold_name(&login.name);
        let user = if name.len() <= limits::TEXT && !name.contains('\0') {
            let query = Query::<User>::all().filter(User::NAME.eq(name.as_str()));
            store.reader().await?.first(&query).await?
        } else {
            None
        };
        let anonymous = Context::anonymous(login.origin.clone());
        let attempt = Attempt {
            context: &anonymous,
            action: LOGIN_REFUSED,
            user: user.as_ref().map(|user| &user.value),
            name: &name,
        };
        let throttle = verify(self.access, &attempt, &login.password).await?;
        let Some(verified) = &user else {
            return Err(Error::internal("nobody signed in"));
        };

        let actor = Actor::User {
            id: verified.id.uuid(),
            name: verified.name.clone(),
        };
        let context = Context::new(actor, login.origin.clone(), Grants::default().into());
        let token = BearerToken::generate(TokenKind::Session, store.random());
        let (token_hash, login) = (&self.access.tokens().hash(token.expose()), &login);
        let (session, user) = store
            .change(&context, Evidence::Audit(LOGIN), |mut tx| async move {
                let user = tx.get::<User>(verified.id).await?;
                // Between the check and here the password may have been changed or the user disabled.
                let Some(user) = user.filter(|user| !user.disabled && user.password_hash == verified.password_hash)
                else {
                    return Err(CREDENTIALS_INVALID.error("name or password is wrong"));
                };
                pass(&mut tx, throttle).await?;
                self.make_room(&mut tx, &user).await?;
                let session = Session {
                    id: SessionId::new(tx.now(), store.random()),
                    user: user.id,
                    token_hash: token_hash.clone(),
                    user_version: user.session_version,
                    created_at: tx.now(),
                    address: login.address(),
                    user_agent: login.user_agent(),
                };
                tx.create(&session)?;
                tx.require(&user);
                tx.subject::<User>(user.id, user.name.clone());
                tx.detail("session", session.id.to_string());
                tx.commit().await?;
                Ok((session, UserView::from(user)))
            })
            .await?;
        Ok(SignedIn {
            token,
            session: view(&session, None, self.access.session_limits(), true),
            user,
        })
    }

    /// Removes the user's sessions that are over, and the oldest of those that are not when there are too many.
    async fn make_room(&self, tx: &mut Tx, user: &Versioned<User>) -> Result<()> {
        let sessions = of_user(tx, user.id).await?;
        let ids: Vec<_> = sessions.iter().map(|session| session.id).collect();
        let seen = tx.reader().latest::<SessionSeen>(&ids).await?;
        let now = tx.now();
        let mut kept = Vec::new();
        for (session, seen) in sessions.into_iter().zip(seen) {
            let seen = seen.map(|seen| seen.at);
            match judge(&session, Some(&user.value), seen, self.access.session_limits(), now) {
                Validity::Valid { .. } => kept.push(session),
                Validity::Expired | Validity::Ended => remove(tx, &session),
            }
        }
        kept.sort_unstable_by_key(|session| (session.created_at, session.id));
        let surplus = (kept.len() + 1).saturating_sub(MAX_PER_USER);
        kept.iter().take(surplus).for_each(|session| remove(tx, session));
        Ok(())
    }

    /// A page of sessions of a user, by id: one's own when none is named; those of others need `users:read`.
    pub async fn list(&self, context: &Context, user: Option<UserId>, page: &PageRequest) -> Result<Page<SessionView>> {
        let own = context.signed_in().ok();
        let user = match user {
            Some(user) if Some(user) == own => user,
            Some(user) => {
                context.require(USERS_READ)?.require_all(USERS_READ)?;
                user
            }
            None => context.signed_in()?,
        };
        let mut reader = self.access.store().reader().await?;
        let query = Query::<Session>::all().filter(Session::USER.eq(user.uuid()));
        let sessions = reader.list(&query, page).await?;
        let ids: Vec<_> = sessions.items.iter().map(|session| session.id).collect();
        let mut seen = reader.latest::<SessionSeen>(&ids).await?.into_iter();
        Ok(sessions.map(|session| {
            let seen = seen.next().flatten().map(|seen| seen.at);
            let current = context.session() == Some(session.id.uuid());
            view(&session, seen, self.access.session_limits(), current)
        }))
    }

    /// Ends a session: one's own, or with `users:write` anybody's.
    pub async fn revoke(&self, context: &Context, id: SessionId) -> Result<()> {
        self.end(context, id, REVOKE).await
    }

    /// Ends the session that asks.
    pub async fn logout(&self, context: &Context) -> Result<()> {
        match context.session() {
            Some(id) => self.end(context, SessionId::from_uuid(id), LOGOUT).await,
            None => Err(not_found()),
        }
    }

    async fn end(&self, context: &Context, id: SessionId, action: crate::access::Action) -> Result<()> {
        let own = context.signed_in().ok();
        self.access
            .store()
            .change(context, Evidence::Audit(action), |mut tx| async move {
                let session = tx.get::<Session>(id).await?.ok_or_else(not_found)?;
                if own != Some(session.user) && context.require(USERS_WRITE).is_err() {
                    return Err(not_found());
                }
                let user = tx.get::<User>(session.user).await?;
                remove(&mut tx, &session);
                tx.subject::<User>(session.user, user.map(|user| user.name.clone()).unwrap_or_default());
                tx.detail("session", id.to_string());
                tx.commit().await?;
                Ok(())
            })
            .await
    }

    /// Ends all sessions of a user but the one that asks, and returns how many: one's own when no user is named; those of
    /// others need `users:write`.
    pub async fn revoke_all(&self, context: &Context, user: Option<UserId>) -> Result<usize> {
        let own = context.signed_in().ok();
        let user = match user {
            Some(user) if Some(user) == own => user,
            Some(user) => {
                context.require(USERS_WRITE)?.require_all(USERS_WRITE)?;
                user
            }
            None => context.signed_in()?,
        };
        let keep = context.session().map(SessionId::from_uuid);
        self.access
            .store()
            .change(context, Evidence::Audit(REVOKE_ALL), |mut tx| async move {
                let found = tx.get::<User>(user).await?;
                let name = found.ok_or_else(not_found)?.name.clone();
                let removed = remove_all(&mut tx, user, keep).await?;
                tx.subject::<User>(user, name);
                tx.detail("sessions", removed);
                tx.commit().await?;
                Ok(removed)
            })
            .await
    }
}

fn not_found() -> Error {
    NOT_FOUND.error("there is no such session")
}

async fn of_user(tx: &mut Tx, user: UserId) -> Result<Vec<Versioned<Session>>> {
    // A user has at most MAX_PER_USER of them, so that one page holds all.
    let query = Query::<Session>::all().filter(Session::USER.eq(user.uuid()));
    let page = PageRequest::new(Some(MAX_LIMIT), None)?;
    Ok(tx.list(&query, &page).await?.items)
}

fn remove(tx: &mut Tx, session: &Versioned<Session>) {
    tx.delete(session);
    tx.drop_latest::<SessionSeen>(session.id);
}

/// Removes all sessions of a user but `keep`, and returns how many.
pub(crate) async fn remove_all(tx: &mut Tx, user: UserId, keep: Option<SessionId>) -> Result<usize> {
    let sessions = of_user(tx, user).await?;
    let ended: Vec<_> = sessions.iter().filter(|session| Some(session.id) != keep).collect();
    ended.iter().for_each(|session| remove(tx, session));
    Ok(ended.len())
}
