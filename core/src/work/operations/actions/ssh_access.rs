//! `ssh.access`: these users, and in this way, come in by SSH.

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

/// Decide who comes in to devices by SSH.
pub const ACCESS_RUN: Permission = Permission::new("operations.ssh.access:run");
/// The name of the kind.
pub const NAME: &str = "ssh.access";
/// What the group's name begins with.
pub const GROUP_PREFIX: &str = "fleet-ssh-";
/// What the name of its file begins with, after its priority.
pub const FILE_PREFIX: &str = "access-";

/// The parameters of `ssh.access`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AccessParams {
    /// Whether it holds.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// A name for it, at most 22 characters: the users are in the group `fleet-ssh-NAME`.
    pub name: String,
    /// Whom it is about: these and no others. Who is no user of the device is passed over with a warning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Whether a key lets them in.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_pubkey: bool,
    /// Whether a password does. What the device asks for by PAM (`KbdInteractiveAuthentication`) is a setting of its own.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_password: bool,
}

impl AccessParams {
    /// The group that the users are in.
    pub fn group(&self) -> String {
        format!("{GROUP_PREFIX}{}", self.name)
    }

    fn check(&self) -> Result<(), String> {
        names::tag("name", &self.name, 32 - GROUP_PREFIX.len())?;
        names::accounts("users", &self.users)
    }
}

action_params!(AccessParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject::new(NAME, |params| named(params, "name"))),
    ..action::<AccessParams>(
        NAME,
        "keep who comes in by SSH, and how",
        ACCESS_RUN,
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
            json!({"name": "ops", "users": ["ana", "bo"], "allow_pubkey": true}),
            true,
        );
        check(json!({"name": "ops"}), true);
        check(json!({"name": "Ops"}), false);
        check(json!({"name": "a name that is too long"}), false);
        check(json!({"name": "a2345678901234567890123"}), false);
        check(json!({"name": "ops", "users": ["ana\nMatch all"]}), false);
    }
}
