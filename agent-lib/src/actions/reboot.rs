//! `reboot`. It has succeeded when the device has started anew, and that is known by the id that the kernel gives each start: the one
//! before is on disk before anything is announced. An agent that was only restarted itself finds the same id, and goes on waiting.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use fleet_core::{
    kernel::{Class, Code},
    protocol::RunResult,
    work::operations::{ActionSummary, actions::reboot::RebootParams},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{
    FILES_FAILED,
    action::{Action, Problem},
    device::{Call, Device},
    driver::ending,
};
use crate::runs::{Ending, interrupted};

/// The time of a reboot has passed, and the device has not started anew.
pub(super) const DID_NOT_HAPPEN: Code = Code::new("reboot.did_not_happen", Class::Unavailable);
/// The agent was interrupted before it announced a reboot.
pub(super) const NOT_ANNOUNCED: Code = Code::new("reboot.not_announced", Class::Unavailable);

/// Says that one is announced (systemd-logind).
pub(super) const SCHEDULED: &str = "/run/systemd/shutdown/scheduled";
/// What the kernel calls this start (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// For how long it has been running, which no change of a clock alters (proc_uptime(5)).
const UPTIME: &str = "/proc/uptime";
const MAX_BYTES: u64 = 4_096;
/// Under which the reboot is remembered that was announced last.
const NOTE: &str = "reboot";
/// How long after its time a device may take to end its services, in seconds.
const PATIENCE_SECONDS: u64 = 600;
/// How often is looked.
const LOOK: Duration = Duration::from_secs(1);

/// Starts the device anew.
pub(super) struct Reboot;

/// What is done.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    /// It is announced, for so many minutes from now, and comes.
    Announce(u32),
    /// It is taken back.
    TakeBack,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Announce(minutes) => write!(f, "have the device start anew in {minutes} minutes"),
            Self::TakeBack => f.write_str("take the announced shutdown back"),
        }
    }
}

/// A reboot that is announced, or about to be.
#[derive(Serialize, Deserialize)]
struct Intent {
    run: Uuid,
    boot_id: String,
    /// When it has not happened, in seconds since that start.
    until: u64,
    /// What was announced before.
    #[serde(default)]
    before: Option<String>,
    /// What stood there once it was announced; nothing where that is not known.
    #[serde(default)]
    ours: Option<String>,
}

#[async_trait]
impl Action for Reboot {
    type Params = RebootParams;
    type Step = Step;

    async fn look(params: &RebootParams, device: &Device) -> Result<Vec<Step>, Problem> {
        device.require_program("shutdown")?;
        Ok(match (params.state.is_absent(), device.exists(SCHEDULED)) {
            (true, true) => vec![Step::TakeBack],
            (true, false) => Vec::new(),
            // Announced anew where one is announced: the newest word holds.
            (false, _) => vec![Step::Announce(params.delay_minutes)],
        })
    }

    async fn act(params: &RebootParams, device: &Device, step: &Step) -> Result<(), Problem> {
        let Step::Announce(minutes) = step else {
            return device.must(&take_back()).await.map(drop);
        };
        let mut intent = Intent {
            run: device.run_id(),
            boot_id: boot_id(device)?,
            until: uptime(device)? + u64::from(*minutes) * 60 + PATIENCE_SECONDS,
            before: announced(device),
            ours: None,
        };
        device.remember(NOTE, &intent)?;
        let come = match device.must(&announce("-r", *minutes, params.message.as_deref())).await {
            Ok(_) => {
                intent.ours = announced(device);
                match device.remember(NOTE, &intent) {
                    Ok(()) => intent.come(device).await,
                    Err(problem) => Err(problem),
                }
            }
            Err(problem) => Err(problem),
        };
        intent.unless_come(device, come).await
    }

    fn is_lasting(step: &Step) -> bool {
        *step == Step::TakeBack
    }
}

impl Intent {
    /// Waits until the device has started anew. Where it does, it mostly ends this program, and the next one asks here.
    async fn come(&self, device: &Device) -> Result<(), Problem> {
        loop {
            match (boot_id(device), uptime(device)) {
                (Ok(id), _) if id != self.boot_id => return Ok(()),
                (Ok(_), Ok(uptime)) if uptime >= self.until => {
                    let why = "reboot did not happen: its time has passed, and the device has not started anew";
                    return Err(Problem::new(DID_NOT_HAPPEN, why));
                }
                // What cannot be read just now may be read a moment later; the time of the run bounds that.
                _ => device.pause(LOOK).await?,
            }
        }
    }

    /// Whether what is announced just now is this reboot, or may be: what somebody else has announced since is not ours to take back.
    fn stands(&self, device: &Device) -> bool {
        let now = announced(device);
        match &self.ours {
            Some(_) => now == self.ours,
            None => self.before.is_none() || now != self.before,
        }
    }

    /// Takes the reboot back where its run ends without it: nobody waits for it any more. One whose announcement failed may be announced
    /// all the same; what somebody else announced stays.
    async fn unless_come(&self, device: &Device, come: Result<(), Problem>) -> Result<(), Problem> {
        if come.is_err() && self.stands(device) {
            match device.undo(&take_back()).await {
                Ok(answer) if answer.succeeded() => device.say("the reboot was taken back\n").await,
                _ => {
                    device
                        .warn("the reboot could not be taken back, and may come".to_owned())
                        .await
                }
            }
        }
        come
    }
}

/// Goes on with a run that was interrupted: says what became of its reboot, and announces none.
pub(super) async fn take_up(params: &Value, device: &Device) -> Ending {
    // One that was to take a shutdown back may have done so, or not.
    if RebootParams::deserialize(params).is_ok_and(|params| params.state.is_absent()) {
        return interrupted();
    }
    let come = match device.recall::<Intent>(NOTE) {
        Ok(Some(intent)) if intent.run == device.run_id() => {
            let come = intent.come(device).await;
            intent.unless_come(device, come).await
        }
        Ok(_) => {
            let why = "the agent was interrupted before it announced the reboot, so nothing was done";
            return ending(Problem::new(NOT_ANNOUNCED, why), Some(false));
        }
        Err(problem) => Err(problem),
    };
    match come {
        Ok(()) => {
            device.say("the device has started anew\n").await;
            let params = RebootParams::deserialize(params).into_iter();
            let steps: Vec<_> = params.map(|params| Step::Announce(params.delay_minutes)).collect();
            Ending {
                changed: Some(true),
                summary: Some(ActionSummary::of(&steps).into()),
                ..Ending::of(RunResult::Succeeded)
            }
        }
        Err(
            problem @ Problem::Failed {
                code: DID_NOT_HAPPEN, ..
            },
        ) => ending(problem, Some(false)),
        Err(problem) => ending(problem, None),
    }
}

/// What is announced just now.
fn announced(device: &Device) -> Option<String> {
    device.read_text(SCHEDULED, MAX_BYTES).ok()
}

fn boot_id(device: &Device) -> Result<String, Problem> {
    let id = device.read_text(BOOT_ID, MAX_BYTES)?;
    match id.trim() {
        "" => Err(Problem::new(FILES_FAILED, format!("{BOOT_ID} says nothing"))),
        id => Ok(id.to_owned()),
    }
}

/// Whole seconds since the device was started.
fn uptime(device: &Device) -> Result<u64, Problem> {
    let text = device.read_text(UPTIME, MAX_BYTES)?;
    let seconds = text.split(['.', ' ']).next().and_then(|seconds| seconds.parse().ok());
    seconds.ok_or_else(|| Problem::new(FILES_FAILED, format!("{UPTIME} says no time")))
}

/// Announces to everybody who is signed in what comes in so many minutes: a reboot (`-r`), or that the device goes off (`-P`).
pub(super) fn announce(what: &str, minutes: u32, message: Option<&str>) -> Call {
    Call::new("shutdown", [what.to_owned(), format!("+{minutes}")]).with(message)
}

/// Takes back what is announced.
pub(super) fn take_back() -> Call {
    Call::new("shutdown", ["-c"])
}
