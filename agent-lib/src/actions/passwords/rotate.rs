//! One password, step by step. Whatever interrupts this, wherever: the password in use is among those that the server shows.
//!
//! ```text
//! deposit       the server keeps it, and has said so         before: nothing is changed
//! intent        its id is on disk
//! chpasswd      it is set                                    from here on it may be in use: the server shows it beside the one before
//! verify        the entry of shadow(5) is another
//! done          time and id are on disk, the intent is gone
//! conclude      the server is told                           repeated at the next pass until it has heard
//! ```

use fleet_core::{
    escrow::{Conclusion, EscrowKind, EscrowReason, EscrowedSecretId},
    work::{operations::actions::password_rotation::PasswordRotationParams, secrets::SecretText},
};

use super::{
    notes::{First, Notes},
    password::generate,
};
use crate::actions::{
    NOT_REACHED,
    action::Problem,
    device::Device,
    user::{chpasswd, expire},
};

/// A password that the server keeps, and that is remembered as one that may be in use.
pub(super) struct Prepared {
    id: EscrowedSecretId,
    password: SecretText,
}

/// Gives a user another password.
pub(super) async fn rotate(
    params: &PasswordRotationParams,
    device: &Device,
    notes: &mut Notes,
    user: &str,
    reason: EscrowReason,
) -> Result<(), Problem> {
    let password = generate(params.length, params.complexity, device.random());
    let prepared = prepare(device, notes, user, reason, password).await?;
    bring_into_use(device, notes, user, &prepared, false).await
}

/// Has the server keep a password. Before this has returned nothing may be changed.
pub(super) async fn prepare(
    device: &Device,
    notes: &mut Notes,
    user: &str,
    reason: EscrowReason,
    password: SecretText,
) -> Result<Prepared, Problem> {
    let id = device
        .deposit(EscrowKind::LocalPassword, user, reason, &password)
        .await?;
    let former = notes.clone();
    notes.of(user).intend(id, reason);
    if let Err(problem) = notes.write(device) {
        // Nothing was changed, and what is remembered is what was.
        *notes = former;
        return Err(problem);
    }
    Ok(Prepared { id, password })
}

/// Sets a password that is kept, and tells what became of it; `expires` where its user has to choose another one first.
pub(super) async fn bring_into_use(
    device: &Device,
    notes: &mut Notes,
    user: &str,
    prepared: &Prepared,
    expires: bool,
) -> Result<(), Problem> {
    let set = set(device, user, &prepared.password, expires).await;
    let now = device.now();
    match &set {
        Ok(()) => {
            let notes = notes.of(user);
            notes.rotated_at = Some(now);
            notes.first = None;
            // The doubtful ones may have been in use until now; the server makes them some that were.
            for intent in std::mem::take(&mut notes.intents) {
                notes.conclude(intent.id, Conclusion::InUse);
            }
        }
        Err(NotSet::Certainly(_)) => {
            give_up(notes, user, prepared);
            let notes = notes.of(user);
            // Unless an earlier one is in doubt, what the user has from now on is from somebody else.
            if notes.intents.is_empty() && notes.first == Some(First::Setting) {
                notes.first = Some(First::Making);
            }
        }
        // It may be set all the same: the intent stays, and the next pass sets another one.
        Err(NotSet::Perhaps(_)) => {}
    }
    notes.write(device)?;
    if !notes.tell(device).await? {
        device
            .warn(format!(
                "{user}: the server has not heard yet which password is in use; it is told at the next pass"
            ))
            .await;
    }
    set.map_err(NotSet::into_problem)
}

/// Notes that a password did not come into use, for certain.
pub(super) fn give_up(notes: &mut Notes, user: &str, prepared: &Prepared) {
    let notes = notes.of(user);
    notes.intents.retain(|intent| intent.id != prepared.id);
    notes.conclude(prepared.id, Conclusion::Abandoned);
}

/// Why a password is not set.
enum NotSet {
    /// The one before is in use.
    Certainly(Problem),
    /// Either may be in use.
    Perhaps(Problem),
}

impl NotSet {
    fn into_problem(self) -> Problem {
        match self {
            Self::Certainly(problem) | Self::Perhaps(problem) => problem,
        }
    }
}

/// Sets a password and looks whether it is set.
async fn set(device: &Device, user: &str, password: &SecretText, expires: bool) -> Result<(), NotSet> {
    let before = device.shadow_entry(user).map_err(NotSet::Certainly)?;
    let answer = chpasswd(device, user, password).await;
    let after = match device.shadow_entry(user) {
        Ok(after) => after,
        Err(problem) => return Err(NotSet::Perhaps(answer.err().unwrap_or(problem))),
    };
    let is_other = after.password != before.password && after.password.starts_with('$');
    match answer {
        Ok(()) if is_other && !after.last_change.is_empty() => match expires {
            true => expire(device, user).await.map_err(NotSet::Perhaps),
            false => Ok(()),
        },
        Ok(()) if after == before => Err(NotSet::Certainly(Problem::new(
            NOT_REACHED,
            "chpasswd succeeded, and the entry in /etc/shadow is the one before",
        ))),
        Ok(()) => Err(NotSet::Perhaps(Problem::new(
            NOT_REACHED,
            "the entry in /etc/shadow is not the one that chpasswd writes",
        ))),
        // What was stopped may have been about to write.
        Err(problem @ (Problem::TimedOut | Problem::Cancelled)) => Err(NotSet::Perhaps(problem)),
        Err(problem) if after == before => Err(NotSet::Certainly(problem)),
        Err(problem) => Err(NotSet::Perhaps(problem)),
    }
}
