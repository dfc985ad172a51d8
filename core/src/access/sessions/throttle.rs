//! The one way to check a password: counted, and refused for a while after too many failures.

use serde::{Deserialize, Serialize};

use super::{
    CREDENTIALS_INVALID, LOCK,
    rules::{after_failure, locked, locked_error},
};
use crate::{
    Entity,
    access::{
        Access, Action, AuditEntry, Context, Outcome, Subject,
        users::{Password, User, UserId},
    },
    kernel::{EntityId, Result, Timestamp, named_uuid},
    store::{Entity as _, Evidence, Tx},
};

crate::define_id!(
    /// Names the count of an account's failures.
    ThrottleId,
    "login throttle"
);

impl ThrottleId {
    /// That of a user.
    pub(crate) fn of_user(user: UserId) -> Self {
        Self::from_uuid(user.uuid())
    }

    /// That of a name which no user has. Names that do not exist are counted and locked like those that do, else a lock
    /// would tell which exist; they share 65,536 counts, so that made-up names fill no disk.
    fn of_nobody(access: &Access, name: &str) -> Self {
        let bucket = access.tokens().bucket(name);
        Self::from_uuid(named_uuid(LoginThrottle::KIND, &bucket.to_string()))
    }
}

/// How often signing in to an account failed. Stored, so that a restart forgives nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "login_throttle", version = 1)]
pub struct LoginThrottle {
    /// The account.
    #[entity(id)]
    pub id: ThrottleId,
    /// Failures since the last success.
    pub failures: u32,
    /// The last of them.
    pub last_failure_at: Timestamp,
    /// Until when attempts are refused unseen.
    pub locked_until: Option<Timestamp>,
}

/// An attempt to prove that one is a user.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    /// Who tries.
    pub(crate) context: &'a Context,
    /// The audit action of a failure.
    pub(crate) action: Action,
    /// The user that is claimed, if there is one.
    pub(crate) user: Option<&'a User>,
    /// The folded name that was given.
    pub(crate) name: &'a str,
}

/// Checks the password of an attempt. A failure is counted and audited before this returns; a success is not yet: its
/// commit ends with [`pass`]. An unknown user, a disabled one, one without password and a wrong password take the same
/// reads, the same hash and the same writes.
pub(crate) async fn verify(access: &Access, attempt: &Attempt<'_>, password: &Password) -> Result<ThrottleId> {
    let id = match attempt.user {
        Some(user) => ThrottleId::of_user(user.id),
        None => ThrottleId::of_nobody(access, attempt.name),
    };
    let throttle = access.store().get::<LoginThrottle>(id).await?;
    let now = access.store().clock().now();
    if let Some(left) = throttle.as_ref().and_then(|throttle| locked(throttle, now)) {
        return Err(locked_error(left));
    }
    let hash = attempt.user.and_then(|user| user.password_hash.as_ref());
    let proved = access.hasher().verify(password, hash).await?;
    if proved && attempt.user.is_some_and(|user| !user.disabled) {
        return Ok(id);
    }
    count_failure(access, attempt, id).await?;
    Err(CREDENTIALS_INVALID.error("name or password is wrong"))
}

async fn count_failure(access: &Access, attempt: &Attempt<'_>, id: ThrottleId) -> Result<()> {
    let evidence = Evidence::Audit(attempt.action);
    access
        .store()
        .change(attempt.context, evidence, |mut tx| async move {
            let now = tx.now();
            let before = tx.get::<LoginThrottle>(id).await?;
            // Attempts that were under way when the lock fell get no answer about their password either.
            if let Some(left) = before.as_ref().and_then(|before| locked(before, now)) {
                return Err(locked_error(left));
            }
            let after = after_failure(id, before.as_ref().map(|before| &before.value), now);
            match &before {
                Some(before) => drop(tx.update(before, &after)?),
                None => tx.create(&after)?,
            }
            tx.refused();
            tx.detail("failures", after.failures);
            // The name that was typed is not written down: people type passwords into that field.
            if let Some(user) = attempt.user {
                tx.subject::<User>(user.id, user.name.clone());
            }
            if let Some(until) = after.locked_until {
                let id = access.store().new_uuid();
                let entry = lock_entry(id, attempt, &after, until);
                tx.append(id, now, 0, &entry)?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
}

fn lock_entry(id: uuid::Uuid, attempt: &Attempt<'_>, throttle: &LoginThrottle, until: Timestamp) -> AuditEntry {
    AuditEntry {
        id,
        at: throttle.last_failure_at,
        actor: attempt.context.actor().clone(),
        origin: attempt.context.origin().clone(),
        action: LOCK.name().to_owned(),
        outcome: Outcome::Done,
        subject: attempt.user.map(|user| Subject {
            kind: User::KIND.to_owned(),
            id: user.id.uuid(),
            name: user.name.clone(),
        }),
        changed: Vec::new(),
        details: [
            ("failures".to_owned(), throttle.failures.into()),
            ("locked_until".to_owned(), until.to_string().into()),
        ]
        .into(),
    }
}

/// Forgives the failures of an account in the commit of a success. Refused when the account was locked in the meantime:
/// of many guesses at once, no more than the ladder allows are answered.
pub(crate) async fn pass(tx: &mut Tx, id: ThrottleId) -> Result<()> {
    match tx.get::<LoginThrottle>(id).await? {
        Some(throttle) => match locked(&throttle, tx.now()) {
            Some(left) => Err(locked_error(left)),
            None => {
                tx.delete(&throttle);
                Ok(())
            }
        },
        None => {
            tx.require_absent::<LoginThrottle>(id);
            Ok(())
        }
    }
}
