//! Loading the server's keys, making them at first start, and letting the dispatch key pass to its successor.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use zeroize::Zeroizing;

use super::{
    DispatchKey, ServerKey,
    rules::{Purpose, refusal},
};
use crate::{
    access::{Action, Context, Permission, tokens::TokenKey},
    kernel::{Class, Code, Error, PublicKey, Result, Sealer, SigningKey, random_bytes},
    protocol::{Handover, MAX_HANDOVERS},
    store::{Evidence, Store, Tx, Versioned},
};

/// Keys of the server were made.
pub const CREATE: Action = Action::new("server_key.create");
/// The dispatch key handed over to another.
pub const ROTATE: Action = Action::new("server_key.rotate");

/// See the key that signs work.
pub const DISPATCH_KEY_READ: Permission = Permission::new("dispatch-key:read");
/// Let the key that signs work hand over to another.
pub const DISPATCH_KEY_ROTATE: Permission = Permission::new("dispatch-key:rotate");
/// The dispatch key is too young to hand over.
pub const HANDED_OVER_LATELY: Code = Code::new("dispatch_key.handed_over_lately", Class::Conflict);

/// How long a dispatch key signs at least: devices that are away have to find every key between theirs and the newest among the last
/// few dozens.
const DISPATCH_LEAST: Duration = Duration::from_secs(24 * 3_600);
/// A dispatch key signs work for a year.
const DISPATCH_LIFE: Duration = Duration::from_secs(365 * 24 * 3_600);

/// The server's own keys. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerKeys {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    sealer: Sealer,
    identity: SigningKey,
    tokens: TokenKey,
    dispatch: RwLock<Arc<Dispatch>>,
}

/// What signs offered runs, as of the last look.
#[derive(Debug)]
pub struct Dispatch {
    /// The key.
    pub key: SigningKey,
    /// Its public half.
    pub public: PublicKey,
    /// How it followed from the keys before it, in order.
    pub handovers: Vec<Handover>,
}

impl Dispatch {
    fn new(secret: &Secret, stored: &ServerKey) -> Self {
        let key = SigningKey::from_bytes(secret);
        Self {
            public: key.public(),
            key,
            handovers: stored.handovers.clone(),
        }
    }
}

type Secret = Zeroizing<[u8; 32]>;

impl ServerKeys {
    /// Opens the keys, and makes those that are not there yet. All that are there must open before one is made: a store of
    /// another master key is refused as it is.
    pub async fn load_or_create(store: &Store, sealer: &Sealer) -> Result<Self> {
        let keys = store
            .change(
                &Context::system("setup"),
                Evidence::Audit(CREATE),
                |mut tx| async move {
                    let mut found: Vec<(Purpose, Option<(Secret, ServerKey)>)> = Vec::new();
                    for purpose in Purpose::ALL {
                        let key = match tx.get::<ServerKey>(purpose.id()).await? {
                            Some(key) => Some((open(purpose, &key, sealer)?, key.value)),
                            None => None,
                        };
                        found.push((purpose, key));
                    }
                    let mut made = Vec::new();
                    let mut keys = Vec::new();
                    for (purpose, key) in found {
                        keys.push(match key {
                            Some(key) => key,
                            None => {
                                let secret = Zeroizing::new(random_bytes(store.random()));
                                let key = ServerKey {
                                    id: purpose.id(),
                                    name: purpose.name().to_owned(),
                                    sealed: seal(purpose, &secret, store, sealer)?,
                                    public_key: purpose.signs().then(|| SigningKey::from_bytes(&secret).public()),
                                    created_at: tx.now(),
                                    handovers: Vec::new(),
                                };
                                tx.create(&key)?;
                                made.push(purpose.name());
                                (secret, key)
                            }
                        });
                    }
                    tx.detail("keys", made);
                    tx.commit().await?;
                    Ok(keys)
                },
            )
            .await?;
        let [(identity, _), (dispatch, stored), (session, _)]: [(Secret, ServerKey); 3] = keys
            .try_into()
            .map_err(|_| Error::internal("a key of the server is missing"))?;
        Ok(Self {
            inner: Arc::new(Inner {
                store: store.clone(),
                sealer: sealer.clone(),
                identity: SigningKey::from_bytes(&identity),
                tokens: TokenKey::from_bytes(session),
                dispatch: RwLock::new(Arc::new(Dispatch::new(&dispatch, &stored))),
            }),
        })
    }

    /// Refuses a master key that does not open what is there. Changes nothing.
    pub(crate) async fn check(store: &Store, sealer: &Sealer) -> Result<()> {
        for purpose in Purpose::ALL {
            if let Some(key) = store.get::<ServerKey>(purpose.id()).await? {
                open(purpose, &key.value, sealer)?;
            }
        }
        Ok(())
    }

    /// Signs welcome and enrolment answers; agents pin its public half.
    pub fn identity(&self) -> &SigningKey {
        &self.inner.identity
    }

    /// Signs offered runs. Sessions that were told another key must end before they get work.
    pub fn dispatch(&self) -> Arc<Dispatch> {
        let dispatch = self.inner.dispatch.read().unwrap_or_else(PoisonError::into_inner);
        dispatch.clone()
    }

    /// Looks again: another server may have changed the dispatch key.
    pub(crate) async fn refresh(&self) -> Result<()> {
        let Inner { store, sealer, .. } = &*self.inner;
        let Some(stored) = store.get::<ServerKey>(Purpose::Dispatch.id()).await? else {
            return Ok(());
        };
        if stored.public_key != Some(self.dispatch().public) {
            let secret = open(Purpose::Dispatch, &stored.value, sealer)?;
            let dispatch = Arc::new(Dispatch::new(&secret, &stored.value));
            *self.inner.dispatch.write().unwrap_or_else(PoisonError::into_inner) = dispatch;
        }
        Ok(())
    }

    /// The key that signs work.
    pub async fn show_dispatch(&self, context: &Context) -> Result<DispatchKey> {
        context.require(DISPATCH_KEY_READ)?.require_all(DISPATCH_KEY_READ)?;
        let stored = self.inner.store.get::<ServerKey>(Purpose::Dispatch.id()).await?;
        let stored = stored.ok_or_else(|| Error::internal("there is no dispatch key"))?;
        shown(&stored.value)
    }

    /// Lets the dispatch key hand over to another now. Agents follow by what the former key signed, as soon as they say hello again.
    /// This is of no use against somebody who has the former key: that one can sign a handover as well.
    pub async fn rotate(&self, context: &Context) -> Result<DispatchKey> {
        context.require(DISPATCH_KEY_ROTATE)?.require_all(DISPATCH_KEY_ROTATE)?;
        let now = self.inner.store.clock().now();
        let is_due = |key: &ServerKey| {
            let may_at = key.created_at.plus(DISPATCH_LEAST);
            (now >= may_at).then_some(true).ok_or_else(|| {
                HANDED_OVER_LATELY.error(format!(
                    "the dispatch key signs since {}; it may hand over from {may_at} on",
                    key.created_at
                ))
            })
        };
        let after = self.hand_over(context, is_due).await?;
        self.refresh().await?;
        shown(&after)
    }

    /// Lets the dispatch key pass to another once it is a year old.
    pub(crate) async fn turn_over(&self) -> Result<()> {
        let Inner { store, .. } = &*self.inner;
        let is_old = |key: &ServerKey| store.clock().now().since(key.created_at) >= DISPATCH_LIFE;
        let stored = store.get::<ServerKey>(Purpose::Dispatch.id()).await?;
        if stored.is_some_and(|stored| is_old(&stored.value)) {
            // Another server may have been faster.
            self.hand_over(&Context::system("server keys"), |key| Ok(is_old(key)))
                .await?;
        }
        self.refresh().await
    }

    /// Makes another dispatch key, if this still is due; the key that is there then.
    async fn hand_over(
        &self,
        context: &Context,
        is_due: impl Fn(&ServerKey) -> Result<bool> + Send + Sync,
    ) -> Result<ServerKey> {
        let Inner { store, sealer, .. } = &*self.inner;
        let next: &Secret = &Zeroizing::new(random_bytes(store.random()));
        let is_due = &is_due;
        store
            .change(context, Evidence::Audit(ROTATE), |mut tx| async move {
                let before = dispatch_of(&mut tx).await?;
                let before = before.ok_or_else(|| Error::internal("there is no dispatch key"))?;
                if !is_due(&before.value)? {
                    return Ok(before.value);
                }
                let former: Secret = open(Purpose::Dispatch, &before.value, sealer)?;
                let former = SigningKey::from_bytes(&former);
                let (to, now) = (SigningKey::from_bytes(next).public(), tx.now());
                let mut after = before.value.clone();
                after.sealed = seal(Purpose::Dispatch, next, store, sealer)?;
                after.public_key = Some(to);
                after.created_at = now;
                after
                    .handovers
                    .push(Handover::sign(&former, to, now).map_err(Error::internal)?);
                let surplus = after.handovers.len().saturating_sub(MAX_HANDOVERS);
                after.handovers.drain(..surplus);
                tx.update(&before, &after)?;
                tx.subject::<ServerKey>(after.id, after.name.clone());
                tx.commit().await?;
                Ok(after)
            })
            .await
    }

    /// Hashes bearer tokens.
    pub(crate) fn tokens(&self) -> &TokenKey {
        &self.inner.tokens
    }
}

fn shown(key: &ServerKey) -> Result<DispatchKey> {
    Ok(DispatchKey {
        public_key: key
            .public_key
            .ok_or_else(|| Error::internal("the dispatch key has no public half"))?,
        since: key.created_at,
        hands_over_at: key.created_at.plus(DISPATCH_LIFE),
        handovers: u32::try_from(key.handovers.len()).unwrap_or(u32::MAX),
    })
}

async fn dispatch_of(tx: &mut Tx) -> Result<Option<Versioned<ServerKey>>> {
    tx.get::<ServerKey>(Purpose::Dispatch.id()).await
}

fn seal(purpose: Purpose, secret: &Secret, store: &Store, sealer: &Sealer) -> Result<crate::kernel::Sealed> {
    sealer
        .seal(&purpose.owner(), &**secret, store.random())
        .map_err(Error::internal)
}

fn open(purpose: Purpose, key: &ServerKey, sealer: &Sealer) -> Result<Secret> {
    let bytes = sealer
        .open(&purpose.owner(), &key.sealed)
        .map_err(|error| refusal(purpose, error, sealer))?;
    let secret: [u8; 32] = bytes
        .as_slice()
        .try_into()
        .map_err(|_| refusal(purpose, crate::kernel::SealError::Damaged, sealer))?;
    Ok(Zeroizing::new(secret))
}
