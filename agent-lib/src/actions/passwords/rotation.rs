//! The action.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    escrow::EscrowReason,
    kernel::{Class, Code},
    work::operations::actions::password_rotation::PasswordRotationParams,
};

use super::{notes::Notes, rotate::rotate, rules::due, sessions, sign_ins::SignIns};
use crate::actions::{
    ESCROW_UNREACHABLE,
    action::{Action, Problem},
    device::{ACCOUNT_FILES, Device, ShadowEntry},
    user::DISABLED,
};

/// Passwords of some users could not be changed; the message names them.
pub(in crate::actions) const PASSWORDS_FAILED: Code = Code::new("password.not_rotated", Class::Unavailable);

/// Keeps passwords fresh.
pub(in crate::actions) struct Rotation;

/// What is done.
#[derive(PartialEq, Eq)]
pub(in crate::actions) enum Step {
    /// These get other passwords.
    Rotate(Vec<Due>),
    /// It is forgotten when these got theirs.
    Forget(Vec<String>),
}

/// A user whose password is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actions) struct Due {
    name: String,
    uid: u32,
    reason: EscrowReason,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rotate(due) => {
                let due: Vec<_> = due
                    .iter()
                    .map(|due| {
                        let why = match due.reason {
                            EscrowReason::Initial => "the first time",
                            EscrowReason::Scheduled => "it is old",
                            EscrowReason::AfterUse => "it was used",
                            EscrowReason::Requested => "as asked",
                            EscrowReason::UserCreated => "its user is new",
                        };
                        format!("{} ({why})", due.name)
                    })
                    .collect();
                write!(f, "change the password of {}", due.join(", "))
            }
            Self::Forget(users) => {
                write!(
                    f,
                    "forget when the password of {} was changed; it stays",
                    users.join(", ")
                )
            }
        }
    }
}

#[async_trait]
impl Action for Rotation {
    type Params = PasswordRotationParams;
    type Step = Step;

    fn writes(_: &PasswordRotationParams) -> Vec<String> {
        vec![ACCOUNT_FILES.to_owned()]
    }

    async fn look(params: &PasswordRotationParams, device: &Device) -> Result<Vec<Step>, Problem> {
        let mut notes = Notes::read(device)?;
        if params.state.is_absent() {
            let known = params.users.iter().filter(|user| notes.users.contains_key(*user));
            let known: Vec<_> = known.cloned().collect();
            return Ok(match known.is_empty() {
                true => Vec::new(),
                false => vec![Step::Forget(known)],
            });
        }
        device.require_program("chpasswd")?;
        // It changes nothing here. Only once: what is not heard now is not heard in a moment either.
        if !params.dry_run && device.is_first("told which passwords are in use") && !notes.tell(device).await? {
            let why = "the server has not heard yet which passwords are in use; it is told at the next pass";
            device.warn(why.to_owned()).await;
        }
        let sign_ins = match params.after_use_hours {
            0 => SignIns::default(),
            _ => sign_ins(device).await?,
        };
        let (mut here, mut dues) = (0, Vec::new());
        for name in &params.users {
            let Some(account) = device.user(name)? else {
                device
                    .warn(format!("{name} is passed over: this device has no such user"))
                    .await;
                continue;
            };
            here += 1;
            if is_disabled(&device.shadow_entry(name)?) {
                let why = "it is disabled, and another password would let it in again";
                device.warn(format!("{name} is passed over: {why}")).await;
                continue;
            }
            let known = notes.users.get(name);
            let since = known.and_then(|known| known.rotated_at);
            let signed_in_at = since.and_then(|since| sign_ins.first_after(name, since));
            if let Some(reason) = due(params, known, signed_in_at, device.now()) {
                dues.push(Due {
                    name: name.clone(),
                    uid: account.uid,
                    reason,
                });
            }
        }
        if here == 0 {
            return Err(Problem::not_applicable("this device has none of these users"));
        }
        Ok(match dues.is_empty() {
            true => Vec::new(),
            false => vec![Step::Rotate(dues)],
        })
    }

    async fn act(params: &PasswordRotationParams, device: &Device, step: &Step) -> Result<(), Problem> {
        match step {
            Step::Rotate(dues) => rotate_all(params, device, dues).await,
            Step::Forget(users) => {
                let mut notes = Notes::read(device)?;
                // What it does not hear now it never hears: then it shows what may be in use.
                notes.tell(device).await?;
                notes.users.retain(|user, _| !users.contains(user));
                notes.write(device)
            }
        }
    }
}

/// Somebody who is not to sign in: a password would be behind the lock no more.
fn is_disabled(entry: &ShadowEntry) -> bool {
    entry.expires == DISABLED
        || entry.password.trim_start_matches('!').starts_with('$') && entry.password.starts_with('!')
}

async fn sign_ins(device: &Device) -> Result<SignIns, Problem> {
    let sign_ins = SignIns::read(device)?;
    if !sign_ins.is_recorded {
        let why =
            "this device keeps no /var/log/wtmp: passwords are changed by their age only, and not after they were used";
        device.warn(why.to_owned()).await;
    }
    Ok(sign_ins)
}

/// One after the other; the failure of one is not that of the next, unless nobody keeps any.
async fn rotate_all(params: &PasswordRotationParams, device: &Device, dues: &[Due]) -> Result<(), Problem> {
    let mut notes = Notes::read(device)?;
    let (mut failures, mut rotated) = (Vec::new(), Vec::new());
    let mut stopped = None;
    for due in dues {
        match rotate(params, device, &mut notes, &due.name, due.reason).await {
            Ok(()) => rotated.push((due.name.clone(), due.uid)),
            Err(Problem::Failed { code, message, .. }) if code != ESCROW_UNREACHABLE => {
                failures.push(format!("{}: {message}", due.name));
            }
            Err(problem) => {
                stopped = Some(problem);
                break;
            }
        }
    }
    if params.end_sessions && device.is_live() {
        // The agent itself is one of root's.
        rotated.retain(|(_, uid)| *uid != 0 && *uid != rustix::process::geteuid().as_raw());
        sessions::end(device, &rotated).await?;
    }
    match (stopped, failures.is_empty()) {
        (Some(problem), _) => Err(problem),
        (None, true) => Ok(()),
        (None, false) => Err(Problem::new(PASSWORDS_FAILED, failures.join("; "))),
    }
}
