//! `sshd.settings`: the SSH server of the device has these settings.

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

/// Alter the settings of devices' SSH servers.
pub const SETTINGS_RUN: Permission = Permission::new("operations.sshd.settings:run");
/// The name of the kind.
pub const NAME: &str = "sshd.settings";

/// The most settings of one action.
const MAX_DIRECTIVES: usize = 100;

/// A setting, as sshd_config(5) has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Directive {
    /// Its keyword, such as `PermitRootLogin`.
    pub key: String,
    /// What it is set to.
    pub value: String,
}

/// The parameters of `sshd.settings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SshdParams {
    /// Whether the server is to have them.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// A name for these settings together: another action with the same name replaces them.
    pub name: String,
    /// 0 to 9,999: of two settings with one keyword that with the lower number holds.
    #[serde(default = "middle")]
    pub priority: u16,
    /// The settings; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directives: Vec<Directive>,
}

const fn middle() -> u16 {
    500
}

impl SshdParams {
    fn check(&self) -> Result<(), String> {
        names::tag("name", &self.name, 64)?;
        if self.name.starts_with(super::ssh_access::FILE_PREFIX) {
            return Err("name: what begins with access- are files of ssh.access".into());
        }
        if self.priority > 9_999 {
            return Err("priority: 0 to 9999".into());
        }
        if self.directives.len() > MAX_DIRECTIVES || (self.directives.is_empty() && self.state.is_present()) {
            return Err(format!("directives: 1 to {MAX_DIRECTIVES}"));
        }
        for Directive { key, value } in &self.directives {
            if key.is_empty() || key.len() > 128 || !key.bytes().all(|c| c.is_ascii_alphanumeric()) {
                return Err(format!("directives: {key:?} is no keyword of sshd_config"));
            }
            if ["match", "include"].contains(&key.to_ascii_lowercase().as_str()) {
                return Err(format!(
                    "directives: {key} would change what other settings mean; ssh.access is for groups"
                ));
            }
            names::line("directives", value, 1_024)?;
            if value.trim().is_empty() {
                return Err(format!("directives: {key} has no value"));
            }
        }
        Ok(())
    }
}

action_params!(SshdParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject::new(NAME, |params| named(params, "name"))),
    ..action::<SshdParams>(
        NAME,
        "keep settings of the SSH server",
        SETTINGS_RUN,
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
        let with = |key: &str, value: &str| json!({"name": "base", "directives": [{"key": key, "value": value}]});
        check(with("PermitRootLogin", "prohibit-password"), true);
        check(json!({"name": "base", "state": "absent"}), true);
        check(json!({"name": "base"}), false);
        check(
            json!({"name": "../x", "directives": [{"key": "X11Forwarding", "value": "no"}]}),
            false,
        );
        check(json!({"name": "access-ops", "state": "absent"}), false);
        check(json!({"name": "access", "state": "absent"}), true);
        check(with("Match", "all"), false);
        check(with("include", "/tmp/x"), false);
        check(with("X11Forwarding", "no\nPermitRootLogin yes"), false);
        check(with("X11 Forwarding", "no"), false);
        check(with("X11Forwarding", " "), false);
    }
}
