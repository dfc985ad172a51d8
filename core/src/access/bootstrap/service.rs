//! Offering and claiming the bootstrap token.

use super::{BootstrapId, BootstrapToken};
use crate::{
    access::{
        Access, Action, BearerToken, Context, Origin, Role,
        tokens::TokenKind,
        users::{Hashed, NewUser, Password, User, UserView, insert},
    },
    kernel::{Class, Code, Error, Result},
    store::{Evidence, Filter},
};

/// The bootstrap token is wrong, was used, or there is a user already.
pub const BOOTSTRAP_INVALID: Code = Code::new("auth.bootstrap_invalid", Class::Unauthenticated);

/// A bootstrap token was made.
pub const OFFER: Action = Action::new("auth.bootstrap.offer");
/// The first administrator was created.
pub const CLAIM: Action = Action::new("auth.bootstrap.claim");
/// A bootstrap token was refused.
pub const REFUSE: Action = Action::new("auth.bootstrap.refuse");

/// The first administrator to be.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The token that the server printed.
    pub token: String,
    /// The name to sign in with.
    pub name: String,
    /// The password.
    pub password: Password,
    /// Where the request came from.
    pub origin: Origin,
}

/// Makes the first administrator.
#[derive(Clone, Copy, Debug)]
pub struct Bootstrap<'a> {
    access: &'a Access,
}

impl<'a> Bootstrap<'a> {
    pub(crate) fn new(access: &'a Access) -> Self {
        Self { access }
    }

    /// A token that creates the first administrator, to be printed; none once there is a user. Each call replaces the token
    /// before.
    pub async fn token(&self) -> Result<Option<BearerToken>> {
        let store = self.access.store();
        let token = BearerToken::generate(TokenKind::Bootstrap, store.random());
        let hash = &self.access.tokens().hash(token.expose());
        let offered = store
            .change(&Context::system("setup"), Evidence::Audit(OFFER), |mut tx| async move {
                if tx.reader().count::<User>(&Filter::All).await? > 0 {
                    return Ok(false);
                }
                let next = BootstrapToken {
                    id: BootstrapId::only(),
                    token_hash: hash.clone(),
                    created_at: tx.now(),
                };
                match tx.get::<BootstrapToken>(next.id).await? {
                    Some(before) => drop(tx.update(&before, &next)?),
                    None => tx.create(&next)?,
                }
                tx.commit().await?;
                Ok(true)
            })
            .await?;
        Ok(offered.then_some(token))
    }

    /// Creates the first administrator. The token is good for one; a password that breaks the rules does not use it up.
    pub async fn claim(&self, claim: Claim) -> Result<UserView> {
        let store = self.access.store();
        let context = Context::anonymous(claim.origin.clone());
        let hash = TokenKind::of(&claim.token)
            .is_some()
            .then(|| self.access.tokens().hash(&claim.token));
        let Some(offered) = store.get::<BootstrapToken>(BootstrapId::only()).await? else {
            return Err(refusal());
        };
        let Some(hash) = &hash.filter(|hash| hash.equals(&offered.token_hash)) else {
            store
                .change(&context, Evidence::Audit(REFUSE), |mut tx| async move {
                    tx.refused();
                    tx.record().await
                })
                .await?;
            return Err(refusal());
        };
        // Only whoever has the token makes us hash.
        let hashed = &Hashed::new(
            self.access,
            NewUser {
                name: claim.name,
                display_name: None,
                role: Role::Admin,
                password: Some(claim.password),
            },
        )
        .await?;
        store
            .change(&context, Evidence::Audit(CLAIM), |mut tx| async move {
                let offered = tx.get::<BootstrapToken>(BootstrapId::only()).await?;
                let Some(offered) = offered.filter(|offered| hash.equals(&offered.token_hash)) else {
                    return Err(refusal());
                };
                if tx.reader().count::<User>(&Filter::All).await? > 0 {
                    return Err(refusal());
                }
                // Two claims at once: the second finds the token gone.
                tx.delete(&offered);
                let user = insert(&mut tx, hashed)?;
                tx.detail("role", user.role.name());
                tx.commit().await?;
                Ok(UserView::new(&user, 1))
            })
            .await
    }
}

fn refusal() -> Error {
    BOOTSTRAP_INVALID.error(
        "this token creates no administrator: it is wrong, was used or replaced, or there is a user already; while there is \
         none, the server prints a new token at each start",
    )
}
