//! What is remembered: times and ids, never a password.

use std::collections::BTreeMap;

use fleet_core::{
    escrow::{Conclusion, EscrowReason, EscrowedSecretId},
    kernel::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::actions::{action::Problem, device::Device};

const NAME: &str = "password.rotation";
/// The most intents of a user, and conclusions that wait to be told. The server keeps as many doubtful ones.
const MAX: usize = 8;

/// Of all users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notes {
    #[serde(default)]
    pub(super) users: BTreeMap<String, UserNotes>,
}

/// Of one user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UserNotes {
    /// When the password was changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rotated_at: Option<Timestamp>,
    /// The one that is being set, and those of which it is not known whether they were: the agent was interrupted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) intents: Vec<Intent>,
    /// How far its first password is, where this agent makes the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<First>,
    /// What the server was not told yet, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) untold: Vec<Untold>,
}

/// How far the first password of a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum First {
    /// The user is about to be made; its password was not set.
    Making,
    /// The user is made; its password is set, or about to be.
    Setting,
}

/// A password that the server keeps and that is to be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) id: EscrowedSecretId,
    pub(super) reason: EscrowReason,
}

/// What became of a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Untold {
    pub(super) id: EscrowedSecretId,
    pub(super) conclusion: Conclusion,
}

impl Notes {
    pub(super) fn read(device: &Device) -> Result<Self, Problem> {
        Ok(device.recall(NAME)?.unwrap_or_default())
    }

    pub(super) fn write(&self, device: &Device) -> Result<(), Problem> {
        device.remember(NAME, self)
    }

    pub(super) fn of(&mut self, user: &str) -> &mut UserNotes {
        self.users.entry(user.to_owned()).or_default()
    }

    /// Tells the server what it was not told yet. What it does not hear is kept for the next pass; whether all was heard.
    pub(super) async fn tell(&mut self, device: &Device) -> Result<bool, Problem> {
        let mut all_heard = true;
        let mut is_changed = false;
        for (user, notes) in &mut self.users {
            while let Some(untold) = notes.untold.first() {
                match device.conclude(untold.id, untold.conclusion).await {
                    Ok(()) => {}
                    Err(error) if error.is_final() => {
                        device
                            .warn(format!(
                                "{user}: the server does not take what became of a password: {error}"
                            ))
                            .await;
                    }
                    Err(_) => {
                        all_heard = false;
                        break;
                    }
                }
                notes.untold.remove(0);
                is_changed = true;
            }
            if !all_heard {
                break;
            }
        }
        if is_changed {
            self.write(device)?;
        }
        Ok(all_heard)
    }
}

impl UserNotes {
    /// A password that is about to be set.
    pub(super) fn intend(&mut self, id: EscrowedSecretId, reason: EscrowReason) {
        push(&mut self.intents, Intent { id, reason });
    }

    /// What is to be told of a password, after what waits already.
    pub(super) fn conclude(&mut self, id: EscrowedSecretId, conclusion: Conclusion) {
        push(&mut self.untold, Untold { id, conclusion });
    }
}

/// At the end; the oldest go.
fn push<T>(list: &mut Vec<T>, item: T) {
    list.push(item);
    let surplus = list.len().saturating_sub(MAX);
    list.drain(..surplus);
}
