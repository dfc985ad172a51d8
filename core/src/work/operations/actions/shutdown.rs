//! `shutdown`: the device is switched off.

use serde::{Deserialize, Serialize};

use super::{
    Presence,
    common::{action, action_params, is_false},
    reboot::{check_announcement, five},
};
use crate::{
    access::Permission,
    work::operations::{OperationKind, Risk, Upkeep},
};

/// Have devices switch themselves off.
pub const SHUTDOWN_RUN: Permission = Permission::new("operations.shutdown:run");
/// The name of the kind.
pub const NAME: &str = "shutdown";

/// The parameters of `shutdown`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ShutdownParams {
    /// `absent` takes back what is announced and has not come.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// In how many minutes, 1 to 1,440: until then whoever is signed in reads the message, and `state: absent` takes it back. The run ends
    /// when it is announced, as a device that is off tells nothing.
    #[serde(default = "five")]
    pub delay_minutes: u32,
    /// What people on the device read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl ShutdownParams {
    fn check(&self) -> Result<(), String> {
        check_announcement(self.delay_minutes, self.message.as_deref())
    }
}

action_params!(ShutdownParams);

/// The kind. It is not idempotent: a device that somebody has switched on again since is not switched off by what was interrupted.
pub const KIND: OperationKind = OperationKind {
    idempotent: false,
    // Who switches a device on does not expect it to go off for a wish of yesterday.
    expiry_seconds: 0,
    ..action::<ShutdownParams>(NAME, "switch the device off", SHUTDOWN_RUN, Risk::High, Upkeep::None)
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
        check(json!({"state": "absent"}), true);
        check(
            json!({"delay_minutes": 1_440, "message": "The power is worked on."}),
            true,
        );
        check(json!({"delay_minutes": 0}), false);
        check(json!({"delay_minutes": 1_441}), false);
        check(json!({"message": "-c"}), false);
        check(json!({"now": true}), false);
    }
}
