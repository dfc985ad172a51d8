//! What an action is, and why one fails.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{kernel::Code, work::operations::actions::ActionParams};

use super::device::Device;

/// Something that a device is to have, or not to have. The driver does the rest: it tells, it stops, it looks a second time.
#[async_trait]
pub(super) trait Action {
    /// What is wanted.
    type Params: ActionParams;
    /// Something that is to be done. It reads as an order, such as `write /etc/motd`.
    type Step: fmt::Display + PartialEq + Send + Sync;

    /// What is to be done, in order, so that the device is as wanted; nothing when it is. It changes nothing.
    async fn look(params: &Self::Params, device: &Device) -> Result<Vec<Self::Step>, Problem>;

    /// Does it.
    async fn act(params: &Self::Params, device: &Device, step: &Self::Step) -> Result<(), Problem>;

    /// Paths at which it writes. File systems that hold them and are read-only are remounted first.
    fn writes(_params: &Self::Params) -> Vec<String> {
        Vec::new()
    }

    /// Whether a step makes what was not there before, so that it may be taken back: an account that somebody else has made stays.
    fn makes(_step: &Self::Step) -> bool {
        true
    }

    /// Whether a step leaves a state behind, so that a second look must not find it again. A restart, say, leaves none.
    fn is_lasting(_step: &Self::Step) -> bool {
        true
    }
}

/// Why an action does not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// It cannot be done.
    Failed {
        /// A stable code.
        code: Code,
        /// What people read.
        message: String,
        /// What the program exited with that failed.
        exit_code: Option<i32>,
    },
    /// The device has nothing that it is about.
    NotApplicable(String),
    /// There is no time left.
    TimedOut,
    /// Somebody asked to stop it.
    Cancelled,
}

impl Problem {
    /// It cannot be done.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Failed {
            code,
            message: message.into(),
            exit_code: None,
        }
    }

    /// The device has nothing that it is about.
    pub(super) fn not_applicable(why: impl Into<String>) -> Self {
        Self::NotApplicable(why.into())
    }
}
