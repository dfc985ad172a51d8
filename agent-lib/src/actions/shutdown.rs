//! `shutdown`. It has succeeded when it is announced: a device that is off tells nothing, and when it is switched on again is for others
//! to know.

use std::fmt;

use async_trait::async_trait;
use fleet_core::work::operations::actions::shutdown::ShutdownParams;

use super::{
    action::{Action, Problem},
    device::Device,
    reboot::{SCHEDULED, announce, take_back},
};

/// Switches the device off.
pub(super) struct Shutdown;

/// What is done.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    /// It is announced, for so many minutes from now.
    Announce(u32),
    /// What is announced is taken back.
    TakeBack,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Announce(minutes) => write!(f, "have the device switch itself off in {minutes} minutes"),
            Self::TakeBack => f.write_str("take the announced shutdown back"),
        }
    }
}

#[async_trait]
impl Action for Shutdown {
    type Params = ShutdownParams;
    type Step = Step;

    async fn look(params: &ShutdownParams, device: &Device) -> Result<Vec<Step>, Problem> {
        device.require_program("shutdown")?;
        Ok(match (params.state.is_absent(), device.exists(SCHEDULED)) {
            (true, true) => vec![Step::TakeBack],
            (true, false) => Vec::new(),
            // Announced anew where one is announced: the newest word holds.
            (false, _) => vec![Step::Announce(params.delay_minutes)],
        })
    }

    async fn act(params: &ShutdownParams, device: &Device, step: &Step) -> Result<(), Problem> {
        let call = match step {
            Step::Announce(minutes) => announce("-P", *minutes, params.message.as_deref()),
            Step::TakeBack => take_back(),
        };
        device.must(&call).await.map(drop)
    }

    fn is_lasting(step: &Step) -> bool {
        *step == Step::TakeBack
    }
}
