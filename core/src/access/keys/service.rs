//! Use cases of API keys.

use super::{
    ApiKey, ApiKeyId, ApiKeySeen, ApiKeyView, CREATE, CreatedKey, KEYS_READ, KEYS_WRITE, NOT_FOUND, NewApiKey, REVOKE,
    TOO_MANY,
    rules::{MAX_PER_USER, check},
};
use crate::{
    access::{
        Access, BearerToken, Context,
        tokens::TokenKind,
        users::{self, User, UserId},
    },
    kernel::{EntityId, Error, MAX_LIMIT, Page, PageRequest, Result},
    store::{Entity as _, Evidence, Query, Tx, Versioned},
};

/// Use cases of API keys. One's own need only that one is signed in; a key manages no keys of its owner, so that one that
/// leaked cannot outlive its revocation.
#[derive(Clone, Copy, Debug)]
pub struct ApiKeys<'a> {
    access: &'a Access,
}

impl<'a> ApiKeys<'a> {
    pub(crate) fn new(access: &'a Access) -> Self {
        Self { access }
    }

    /// Creates a key. Its role is no more than its owner's, nor than the creator may give.
    pub async fn create(&self, context: &Context, new: NewApiKey) -> Result<CreatedKey> {
        let own = context.signed_in();
        let owner = match new.owner {
            Some(owner) if own.as_ref().ok() == Some(&owner) => owner,
            Some(owner) => {
                context.require(KEYS_WRITE)?.require_all(KEYS_WRITE)?;
                owner
            }
            None => own?,
        };
        self.access.may_grant(context, new.role)?;
        let store = self.access.store();
        let name = &check(&new, store.clock().now())?;
        let token = BearerToken::generate(TokenKind::Key, store.random());
        let (hash, prefix) = (&self.access.tokens().hash(token.expose()), &token.shown());
        let (role, purpose, expires_at) = (new.role, new.purpose, new.expires_at);
        let key = store
            .change(context, Evidence::Audit(CREATE), |mut tx| async move {
                let user = tx.get::<User>(owner).await?;
                let user = user.ok_or_else(|| users::NOT_FOUND.error("there is no such user"))?;
                if role < user.role {
                    let why = format!("no more than its owner may: {}", user.role.name());
                    return Err(Error::invalid_field("/role", why));
                }
                if of_user(&mut tx, owner).await?.len() >= MAX_PER_USER {
                    return Err(TOO_MANY.error(format!("a user has at most {MAX_PER_USER} keys; revoke one first")));
                }
                let key = ApiKey {
                    id: ApiKeyId::new(tx.now(), store.random()),
                    name: name.clone(),
                    owner,
                    token_hash: hash.clone(),
                    prefix: prefix.clone(),
                    role,
                    purpose,
                    created_at: tx.now(),
                    expires_at,
                };
                tx.create(&key)?;
                // The owner is there, and with this role, when the key appears.
                tx.require(&user);
                tx.subject::<ApiKey>(key.id, key.name.clone());
                tx.detail("owner", owner.to_string());
                tx.detail("role", role.name());
                tx.detail("purpose", purpose.name());
                tx.commit().await?;
                Ok(key)
            })
            .await?;
        Ok(CreatedKey {
            token,
            key: ApiKeyView::new(&key, None),
        })
    }

    /// A page of keys, by id: those of `owner`, or everybody's. Those of others need `keys:read`.
    pub async fn list(&self, context: &Context, owner: Option<UserId>, page: &PageRequest) -> Result<Page<ApiKeyView>> {
        if owner.is_none() || context.signed_in().ok() != owner {
            context.require(KEYS_READ)?.require_all(KEYS_READ)?;
        }
        let mut query = Query::<ApiKey>::all();
        if let Some(owner) = owner {
            query = query.filter(ApiKey::OWNER.eq(owner.uuid()));
        }
        let mut reader = self.access.store().reader().await?;
        let keys = reader.list(&query, page).await?;
        let ids: Vec<_> = keys.items.iter().map(|key| key.id).collect();
        let mut seen = reader.latest::<ApiKeySeen>(&ids).await?.into_iter();
        Ok(keys.map(|key| ApiKeyView::new(&key, seen.next().flatten())))
    }

    /// One key.
    pub async fn show(&self, context: &Context, id: ApiKeyId) -> Result<ApiKeyView> {
        let mut reader = self.access.store().reader().await?;
        let key = reader.get::<ApiKey>(id).await?.ok_or_else(not_found)?;
        if context.signed_in().ok() != Some(key.owner) && context.require(KEYS_READ).is_err() {
            return Err(not_found());
        }
        let seen = reader.latest::<ApiKeySeen>(&[id]).await?.pop().flatten();
        Ok(ApiKeyView::new(&key, seen))
    }

    /// Revokes a key: one's own, or with `keys:write` anybody's. A key may always revoke itself.
    pub async fn revoke(&self, context: &Context, id: ApiKeyId) -> Result<()> {
        let own = context.signed_in().ok();
        self.access
            .store()
            .change(context, Evidence::Audit(REVOKE), |mut tx| async move {
                let key = tx.get::<ApiKey>(id).await?.ok_or_else(not_found)?;
                let allowed = own == Some(key.owner)
                    || context.actor().id() == Some(id.uuid())
                    || context.require(KEYS_WRITE).is_ok();
                if !allowed {
                    return Err(not_found());
                }
                remove(&mut tx, &key);
                tx.subject::<ApiKey>(id, key.name.clone());
                tx.detail("owner", key.owner.to_string());
                tx.commit().await?;
                Ok(())
            })
            .await
    }
}

fn not_found() -> Error {
    NOT_FOUND.error(format!("there is no such {}", ApiKeyId::ENTITY))
}

async fn of_user(tx: &mut Tx, owner: UserId) -> Result<Vec<Versioned<ApiKey>>> {
    // A user has at most MAX_PER_USER of them, so that one page holds all.
    let query = Query::<ApiKey>::all().filter(ApiKey::OWNER.eq(owner.uuid()));
    let page = PageRequest::new(Some(MAX_LIMIT), None)?;
    Ok(tx.list(&query, &page).await?.items)
}

fn remove(tx: &mut Tx, key: &Versioned<ApiKey>) {
    tx.delete(key);
    tx.drop_latest::<ApiKeySeen>(key.value.id());
}

/// Removes all keys of a user, and returns how many.
pub(crate) async fn remove_all(tx: &mut Tx, owner: UserId) -> Result<usize> {
    let keys = of_user(tx, owner).await?;
    keys.iter().for_each(|key| remove(tx, key));
    Ok(keys.len())
}
