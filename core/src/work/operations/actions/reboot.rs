//! `reboot`: the device starts anew.

use serde::{Deserialize, Serialize};

use super::{
    Presence,
    common::{action, action_params, is_false},
    names,
};
use crate::{
    access::Permission,
    work::operations::{OperationKind, Risk, Upkeep},
};

/// Have devices start anew.
pub const REBOOT_RUN: Permission = Permission::new("operations.reboot:run");
/// The name of the kind.
pub const NAME: &str = "reboot";

/// The parameters of `reboot`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RebootParams {
    /// `absent` takes a reboot back that somebody else has announced and that has not come.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// In how many minutes, 1 to 1,440: until then whoever is signed in reads the message. The run ends when the device has started anew;
    /// until then the device begins nothing else that changes it, and stopping the run takes the reboot back.
    #[serde(default = "five")]
    pub delay_minutes: u32,
    /// What people on the device read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

pub(super) const fn five() -> u32 {
    5
}

impl RebootParams {
    fn check(&self) -> Result<(), String> {
        check_announcement(self.delay_minutes, self.message.as_deref())
    }
}

/// Refuses what people who are signed in could not be told.
pub(super) fn check_announcement(delay_minutes: u32, message: Option<&str>) -> Result<(), String> {
    if !(1..=1_440).contains(&delay_minutes) {
        return Err("delay_minutes: 1 to 1440".into());
    }
    match message {
        Some(message) if message.starts_with('-') => Err("message: does not begin with -".into()),
        Some(message) => names::line("message", message, 500),
        None => Ok(()),
    }
}

action_params!(RebootParams);

/// How long a device may take to end its services, and to start anew, in seconds.
const STARTING_ANEW: u32 = 1_200;
/// The longest wait, and all that a device may take for the rest.
const LONGEST: u32 = 1_440 * 60 + 3_600;

/// How long it is announced for, in seconds.
fn announced(params: &serde_json::Value) -> u32 {
    let params = RebootParams::deserialize(params);
    let minutes = params.map_or(0, |params| match params.state.is_absent() || params.dry_run {
        true => 0,
        false => params.delay_minutes,
    });
    minutes * 60
}

/// The kind. It is not idempotent: one that was interrupted may have rebooted the device, and must not do so again.
pub const KIND: OperationKind = OperationKind {
    idempotent: false,
    timeout_seconds: STARTING_ANEW,
    waits_seconds: announced,
    max_timeout_seconds: LONGEST,
    // Who switches a device on does not expect it to start anew for a wish of yesterday.
    expiry_seconds: 0,
    ..action::<RebootParams>(NAME, "start the device anew", REBOOT_RUN, Risk::High, Upkeep::None)
};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(params: serde_json::Value, fits: bool) {
        assert_eq!(KIND.check_params(params.clone()).is_ok(), fits, "{params}");
    }

    #[test]
    fn parameters_are_checked_before_anything_is_stored() {
        check(json!({}), true);
        check(json!({"delay_minutes": 1, "message": "Back in a minute."}), true);
        check(json!({"delay_minutes": 0}), false);
        check(json!({"delay_minutes": 1441}), false);
        check(json!({"message": "-c"}), false);
        check(json!({"message": "a\nb"}), false);
    }

    #[track_caller]
    fn check_timeout(params: serde_json::Value, said: Option<u32>, expected: Option<u32>) {
        assert_eq!(
            KIND.check_timeout(said, &params).ok(),
            expected,
            "{params} within {said:?}"
        );
    }

    #[test]
    fn a_device_has_its_time_to_start_anew_after_the_time_that_was_announced() {
        check_timeout(json!({}), None, Some(300 + 1_200));
        check_timeout(json!({"delay_minutes": 1_440}), None, Some(86_400 + 1_200));
        check_timeout(json!({"delay_minutes": 10}), Some(600), None);
        check_timeout(json!({"delay_minutes": 10}), Some(601), Some(601));
        check_timeout(json!({"delay_minutes": 10}), Some(90_000), Some(90_000));
        check_timeout(json!({"delay_minutes": 10}), Some(90_001), None);
        // Nothing is waited for.
        check_timeout(json!({"delay_minutes": 10, "dry_run": true}), Some(60), Some(60));
        check_timeout(json!({"state": "absent"}), Some(1), Some(1));
        check_timeout(json!({"state": "absent"}), Some(0), None);
    }
}
