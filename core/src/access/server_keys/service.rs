//! Loading the server's keys, and making them at first start.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{
    ServerKey,
    rules::{Purpose, refusal},
};
use crate::{
    access::{Action, Context, tokens::TokenKey},
    kernel::{Error, Result, Sealer, SigningKey, random_bytes},
    store::{Evidence, Store},
};

/// Keys of the server were made.
pub const CREATE: Action = Action::new("server_key.create");

/// The server's own keys. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerKeys {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    identity: SigningKey,
    dispatch: SigningKey,
    tokens: TokenKey,
}

type Secret = Zeroizing<[u8; 32]>;

impl ServerKeys {
    /// Opens the keys, and makes those that are not there yet. All that are there must open before one is made: a store of
    /// another master key is refused as it is.
    pub async fn load_or_create(store: &Store, sealer: &Sealer) -> Result<Self> {
        let secrets = store
            .change(
                &Context::system("setup"),
                Evidence::Audit(CREATE),
                |mut tx| async move {
                    let mut found: Vec<(Purpose, Option<Secret>)> = Vec::new();
                    for purpose in Purpose::ALL {
                        let secret = match tx.get::<ServerKey>(purpose.id()).await? {
                            Some(key) => Some(open(purpose, &key, sealer)?),
                            None => None,
                        };
                        found.push((purpose, secret));
                    }
                    let mut made = Vec::new();
                    let mut secrets = Vec::new();
                    for (purpose, secret) in found {
                        secrets.push(match secret {
                            Some(secret) => secret,
                            None => {
                                let secret = Zeroizing::new(random_bytes(store.random()));
                                tx.create(&ServerKey {
                                    id: purpose.id(),
                                    name: purpose.name().to_owned(),
                                    sealed: sealer
                                        .seal(&purpose.owner(), &*secret, store.random())
                                        .map_err(Error::internal)?,
                                    public_key: purpose.signs().then(|| SigningKey::from_bytes(&secret).public()),
                                    created_at: tx.now(),
                                })?;
                                made.push(purpose.name());
                                secret
                            }
                        });
                    }
                    tx.detail("keys", made);
                    tx.commit().await?;
                    Ok(secrets)
                },
            )
            .await?;
        let [identity, dispatch, session]: [Secret; 3] = secrets
            .try_into()
            .map_err(|_| Error::internal("a key of the server is missing"))?;
        Ok(Self {
            inner: Arc::new(Inner {
                identity: SigningKey::from_bytes(&identity),
                dispatch: SigningKey::from_bytes(&dispatch),
                tokens: TokenKey::from_bytes(session),
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

    /// Signs offered runs.
    pub fn dispatch(&self) -> &SigningKey {
        &self.inner.dispatch
    }

    /// Hashes bearer tokens.
    pub(crate) fn tokens(&self) -> &TokenKey {
        &self.inner.tokens
    }
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
