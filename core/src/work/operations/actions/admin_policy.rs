//! `admin.policy`: these users may do this as root, by sudo.

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

/// Decide who does what as root on devices.
pub const POLICY_RUN: Permission = Permission::new("operations.admin.policy:run");
/// The name of the kind.
pub const NAME: &str = "admin.policy";
/// What the group's name begins with.
pub const GROUP_PREFIX: &str = "fleet-sudo-";
/// What stands for the group in rules of one's own.
pub const PLACEHOLDER: &str = "{group}";

/// How much they may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AccessLevel {
    /// Everything, with their password.
    #[default]
    Full,
    /// What keeps a device going: packages, services, logs, power, network. A convenience and no boundary: who may install a package, or
    /// edit a service, may become root.
    Limited,
    /// What the rules say.
    Custom,
}

/// The parameters of `admin.policy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PolicyParams {
    /// Whether it holds.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// A name for it, at most 21 characters: the users are in the group `fleet-sudo-NAME`.
    pub name: String,
    /// Whom it is about: these and no others. Who is no user of the device is passed over with a warning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// How much they may do.
    #[serde(default)]
    pub access_level: AccessLevel,
    /// The rules of `custom`, as sudoers(5) has them; `{group}` stands for the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_config: Option<String>,
}

impl PolicyParams {
    /// The group that the users are in.
    pub fn group(&self) -> String {
        format!("{GROUP_PREFIX}{}", self.name)
    }

    fn check(&self) -> Result<(), String> {
        names::tag("name", &self.name, 32 - GROUP_PREFIX.len())?;
        names::accounts("users", &self.users)?;
        match (&self.custom_config, self.access_level) {
            (Some(config), AccessLevel::Custom) => {
                names::content("custom_config", config)?;
                match config.contains(PLACEHOLDER) {
                    true => Ok(()),
                    false => Err(format!("custom_config: {PLACEHOLDER} has to stand for the group in it")),
                }
            }
            (None, AccessLevel::Custom) if self.state.is_present() => Err("custom_config: say what they may do".into()),
            (Some(_), _) => Err("custom_config: belongs to access_level custom".into()),
            (None, _) => Ok(()),
        }
    }
}

action_params!(PolicyParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject::new(NAME, |params| named(params, "name"))),
    ..action::<PolicyParams>(
        NAME,
        "keep who does what as root",
        POLICY_RUN,
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
        check(json!({"name": "ops", "users": ["ana"]}), true);
        check(json!({"name": "ops", "access_level": "limited"}), true);
        let custom = |config: &str| json!({"name": "ops", "access_level": "custom", "custom_config": config});
        check(custom("%{group} ALL=(root) /usr/bin/id\n"), true);
        check(custom("ana ALL=(ALL) NOPASSWD: ALL\n"), false);
        check(json!({"name": "ops", "access_level": "custom"}), false);
        check(json!({"name": "ops", "custom_config": "%{group} ALL=ALL"}), false);
        check(json!({"name": "ops.d"}), false);
        check(json!({"name": "ops~"}), false);
    }
}
