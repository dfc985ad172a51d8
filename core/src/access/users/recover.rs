//! The way back in when nobody can sign in: for whoever holds the store and its master key.

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Password, RECOVER, User, UserView,
    rules::check_name,
    service::{Hashed, insert},
};
use crate::{
    access::{
        Access, Context, Role,
        sessions::{LoginThrottle, ThrottleId},
    },
    kernel::{Randomness, Result, random_bytes},
    store::{Evidence, Query},
};

/// Characters that nobody mistakes for another (Crockford's base 32, in lower case).
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Five bits each: 120 bits.
const LENGTH: usize = 24;

/// An administrator who can sign in again.
#[derive(Debug)]
pub struct Recovered {
    /// The user.
    pub user: UserView,
    /// Whether there was no such user before.
    pub created: bool,
    /// The new password, to be shown once.
    pub password: SecretString,
}

impl super::Users<'_> {
    /// Makes `name` an administrator who can sign in: an existing user is enabled, gets the role and a new password, and all
    /// its sessions end; otherwise a new one is created. Nobody is asked for a permission: whoever can open the store offline
    /// has it all.
    pub async fn recover(&self, name: &str) -> Result<Recovered> {
        let access: &Access = self.access();
        let store = access.store();
        let name = &check_name(name)?;
        let text = generate(store.random());
        let password = Password::from(text.expose_secret());
        let hash = &access.hasher().hash(&password, store.random()).await?;
        let new = &Hashed::new(
            access,
            super::NewUser {
                name: name.clone(),
                display_name: None,
                role: Role::Admin,
                password: Some(password),
            },
        )
        .await?;
        let context = Context::system("recovery");
        let change = store.change(&context, Evidence::Audit(RECOVER), |mut tx| async move {
            let there = tx
                .reader()
                .first(&Query::<User>::all().filter(User::NAME.eq(name.as_str())))
                .await?;
            let Some(before) = there else {
                let user = insert(&mut tx, new)?;
                tx.commit().await?;
                return Ok((UserView::new(&user, 1), true));
            };
            let mut after = before.value.clone();
            after.role = Role::Admin;
            after.disabled = false;
            after.password_hash = Some(hash.clone());
            after.password_changed_at = Some(tx.now());
            after.session_version += 1;
            for (member, changed) in [
                ("role", before.role != after.role),
                ("disabled", before.disabled),
                ("password", true),
            ] {
                if changed {
                    tx.changed(member);
                }
            }
            tx.remove::<LoginThrottle>(ThrottleId::of_user(after.id));
            tx.update(&before, &after)?;
            tx.subject::<User>(after.id, after.name.clone());
            tx.commit().await?;
            Ok((UserView::new(&after, before.rev + 1), false))
        });
        let (user, created) = change.await?;
        Ok(Recovered {
            user,
            created,
            password: text,
        })
    }
}

/// `k3m9-…`: six groups of four.
fn generate(random: &dyn Randomness) -> SecretString {
    let characters: Vec<char> = random_bytes::<LENGTH>(random)
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
        .collect();
    let groups: Vec<String> = characters.chunks(4).map(|group| group.iter().collect()).collect();
    groups.join("-").into()
}
