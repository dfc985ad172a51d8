//! `group`: a local group is there with these members, or is gone.

use serde::{Deserialize, Serialize};

use super::{
    Presence,
    common::{action, action_params, is_false},
    names,
};
use crate::{
    access::Permission,
    work::operations::{OperationKind, Risk, Subject, Upkeep, named},
};

/// Make, alter and remove local groups of devices.
pub const GROUP_RUN: Permission = Permission::new("operations.group:run");
/// The name of the kind.
pub const NAME: &str = "group";

/// The parameters of `group`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GroupParams {
    /// Whether it is to be there.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Its name.
    pub name: String,
    /// Its number; left as it is when nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Who is in it: these and no others; left as they are when nobody says. Who is no user of the device is passed over with a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<String>>,
    /// Whether its number is one of those of the system, where it is made.
    #[serde(default, skip_serializing_if = "is_false")]
    pub system: bool,
}

impl GroupParams {
    fn check(&self) -> Result<(), String> {
        names::account("name", &self.name)?;
        if matches!(self.name.as_str(), "root" | "fleet-agent") {
            return Err(format!(
                "name: {} is the agent's own group, which no action touches",
                self.name
            ));
        }
        if self.gid == Some(0) || self.gid == Some(u32::MAX) {
            return Err("gid: 1 to 4294967294; 0 is root's".into());
        }
        names::accounts("members", self.members.as_deref().unwrap_or_default())
    }
}

action_params!(GroupParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject::new(NAME, |params| named(params, "name"))),
    ..action::<GroupParams>(
        NAME,
        "keep a local group as it should be",
        GROUP_RUN,
        Risk::High,
        Upkeep::Reverted,
    )
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
        check(
            json!({"name": "deploy", "gid": 2000, "members": ["web", "db"], "system": true}),
            true,
        );
        check(json!({"name": "deploy", "members": []}), true);
        check(json!({"name": "deploy", "state": "absent"}), true);
        check(json!({"name": "deploy", "gid": 0}), false);
        check(json!({"name": "deploy", "members": ["a", "a"]}), false);
        check(json!({"name": "deploy", "members": ["-a"]}), false);
        check(json!({"name": "root", "state": "absent"}), false);
    }
}
