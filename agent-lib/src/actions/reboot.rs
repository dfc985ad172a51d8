//! `reboot`.

use std::fmt;

use async_trait::async_trait;
use fleet_core::work::operations::actions::reboot::RebootParams;

use super::{
    action::{Action, Problem},
    device::{Call, Device},
};

/// Says that one is announced (systemd-logind).
const SCHEDULED: &str = "/run/systemd/shutdown/scheduled";

/// Starts the device anew.
pub(super) struct Reboot;

/// What is done.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    /// It is announced, for so many minutes from now.
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
        let call = match step {
            Step::Announce(minutes) => announce(*minutes, params.message.as_deref()),
            Step::TakeBack => Call::new("shutdown", ["-c"]),
        };
        device.must(&call).await.map(drop)
    }

    fn is_lasting(step: &Step) -> bool {
        *step == Step::TakeBack
    }
}

/// Announces a reboot to everybody who is signed in.
pub(super) fn announce(minutes: u32, message: Option<&str>) -> Call {
    Call::new("shutdown", ["-r".to_owned(), format!("+{minutes}")]).with(message)
}
