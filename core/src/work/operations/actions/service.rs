//! `service`: a systemd unit is enabled or not, running or not, and its file says this.

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

/// Alter, start and stop services of devices.
pub const SERVICE_RUN: Permission = Permission::new("operations.service:run");
/// The name of the kind.
pub const NAME: &str = "service";

/// The kinds of unit that may be kept.
const SUFFIXES: [&str; 7] = ["service", "socket", "timer", "path", "target", "mount", "automount"];

/// Whether a unit is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Running {
    /// It runs.
    Started,
    /// It does not run.
    Stopped,
    /// It is started anew, each time.
    Restarted,
}

/// The parameters of `service`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceParams {
    /// Whether it is to be there; `absent` stops and disables it, and removes its file when `content` is given.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Which unit, with its suffix, such as `nginx.service`.
    pub unit: String,
    /// Whether it runs; left as it is when nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// Whether it starts with the device; left as it is when nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What its file in `/etc/systemd/system` says; left as it is when nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

impl ServiceParams {
    fn check(&self) -> Result<(), String> {
        let good = |c: u8| c.is_ascii_alphanumeric() || b"@._:-\\".contains(&c);
        let suffix = self.unit.rsplit_once('.').filter(|(name, _)| !name.is_empty());
        let is_unit = suffix.is_some_and(|(_, suffix)| SUFFIXES.contains(&suffix));
        if !is_unit || self.unit.len() > 255 || !self.unit.bytes().all(good) || self.unit.starts_with(['-', '.']) {
            return Err(format!(
                "unit: {:?} is none; take the whole name, such as nginx.service (or .{})",
                self.unit,
                SUFFIXES[1..].join(", .")
            ));
        }
        if self.unit.starts_with("fleet-agent.") {
            return Err("unit: the agent's own unit is not touched by what the agent does".into());
        }
        if let Some(content) = &self.content {
            names::content("content", content)?;
            if content.trim().is_empty() {
                return Err("content: a unit's file is not empty".into());
            }
            if self.unit.contains('@') && !self.unit.contains("@.") && self.state.is_present() {
                return Err(
                    "content: belongs to the template, such as name@.service, and not to one of its instances".into(),
                );
            }
        }
        let says_nothing = self.running.is_none() && self.enabled.is_none() && self.content.is_none();
        if says_nothing && self.state.is_present() {
            return Err("running: say what is to be kept: running, enabled or content".into());
        }
        Ok(())
    }
}

action_params!(ServiceParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject::new(NAME, |params| named(params, "unit"))),
    ..action::<ServiceParams>(
        NAME,
        "keep a service as it should be",
        SERVICE_RUN,
        Risk::High,
        Upkeep::Kept,
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
            json!({"unit": "nginx.service", "running": "started", "enabled": true}),
            true,
        );
        check(
            json!({"unit": "backup@.service", "content": "[Service]\nExecStart=/bin/true\n"}),
            true,
        );
        check(json!({"unit": "backup@home.timer", "enabled": true}), true);
        check(json!({"unit": "nginx.service", "state": "absent"}), true);
        check(json!({"unit": "nginx.service"}), false);
        check(json!({"unit": "nginx", "enabled": true}), false);
        check(json!({"unit": "-x.service", "enabled": true}), false);
        check(json!({"unit": "../x.service", "enabled": true}), false);
        check(json!({"unit": "a b.service", "enabled": true}), false);
        check(json!({"unit": "nginx.service", "running": "maybe"}), false);
        check(json!({"unit": "a@b.service", "content": "[Unit]\n"}), false);
        check(json!({"unit": "a.service", "content": " "}), false);
    }

    #[test]
    fn the_agents_own_unit_is_off_limits() {
        check(json!({"unit": "fleet-agent.service", "running": "stopped"}), false);
        check(json!({"unit": "fleet-agent.service", "state": "absent"}), false);
    }
}
