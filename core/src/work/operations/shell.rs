//! `shell`: runs a script on a device.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Lane, OperationKind, Risk, Upkeep, actions::is_false, model::at_once, schema_of};
use crate::{access::Permission, work::secrets::SecretText};

/// Run scripts on devices. Whoever has it owns the devices.
pub const SHELL_RUN: Permission = Permission::new("operations.shell:run");

/// The name of the kind.
pub const NAME: &str = "shell";
/// The longest script, in bytes; as JSON with the other parameters it may have [`MAX_PARAMS`](super::MAX_PARAMS).
pub const MAX_SCRIPT: usize = 32 * 1024;

/// Whom a script is run for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ShellScope {
    /// Once for the device.
    #[default]
    System,
    /// Once for each user who is signed in to a desktop, as that user.
    Users,
}

impl ShellScope {
    fn is_system(&self) -> bool {
        *self == Self::System
    }
}

/// The parameters of `shell`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ShellParams {
    /// Only say what would be done: the check script runs, the script does not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// The text of the script; at most 32 KiB. It may be left out where there is a check script.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub script: String,
    /// A script that tells by its exit code whether the device is as it should be: 0 says so. It runs first; the script runs only when it
    /// says otherwise, and then it runs again. At most 32 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub check_script: Option<String>,
    /// Whether the check script only tells, and nothing is done about it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub check_only: bool,
    /// The program that reads the script, with an absolute path.
    #[serde(default = "default_interpreter")]
    pub interpreter: String,
    /// Arguments of the script.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// Where it runs; the user's home by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub working_directory: Option<String>,
    /// Additions to its environment. Not for secrets: these are readable to everybody who may see the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Additions to its environment that are secret: sealed on the server, shown to nobody, and taken out of what the script prints. At most
    /// 20 of 4 KiB each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>, write_only))]
    pub secret_env: BTreeMap<String, SecretText>,
    /// The user that it runs as; the agent's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub run_as: Option<String>,
    /// For whom: `system` (once for the device) when nobody says, or `users`: once for each user who is signed in to a desktop, one after
    /// the other, as that user. Where nobody is, nothing is run.
    #[serde(default, skip_serializing_if = "ShellScope::is_system")]
    pub scope: ShellScope,
}

/// The most secret variables, and the bytes that each may have.
const MAX_SECRETS: usize = 20;
const MAX_SECRET: usize = 4 * 1024;

fn default_interpreter() -> String {
    "/bin/sh".into()
}

impl ShellParams {
    /// The names of all variables that it adds.
    fn variables(&self) -> impl Iterator<Item = &String> {
        self.environment.keys().chain(self.secret_env.keys())
    }

    fn problem(&self) -> Option<&'static str> {
        let name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
                && !name.starts_with(|c: char| c.is_ascii_digit())
        };
        let check = self.check_script.as_deref();
        if self.check_only && check.is_none() {
            Some("check_only needs a check_script: nothing is found out by doing something")
        } else if check.is_some_and(|check| check.trim().is_empty()) {
            Some("the check script is empty")
        } else if check.is_some_and(|check| check.len() > MAX_SCRIPT) {
            Some("the check script is longer than 32 KiB")
        } else if self.script.trim().is_empty() && check.is_none() {
            Some("the script is empty")
        } else if self.script.len() > MAX_SCRIPT {
            Some("the script is longer than 32 KiB")
        } else if !self.interpreter.starts_with('/') {
            Some("the interpreter is an absolute path")
        } else if self
            .working_directory
            .as_ref()
            .is_some_and(|path| !path.starts_with('/'))
        {
            Some("the working directory is an absolute path")
        } else if self.arguments.len() > 64 || self.arguments.iter().map(String::len).sum::<usize>() > 8 * 1024 {
            Some("at most 64 arguments of 8 KiB in all")
        } else if self.environment.len() > 64
            || self
                .environment
                .iter()
                .map(|(key, value)| key.len() + value.len())
                .sum::<usize>()
                > 8 * 1024
        {
            Some("at most 64 environment variables of 8 KiB in all")
        } else if self.secret_env.len() > MAX_SECRETS
            || self.secret_env.values().any(|value| value.reveal().len() > MAX_SECRET)
        {
            Some("at most 20 secret environment variables of 4 KiB each")
        } else if self.secret_env.keys().any(|key| self.environment.contains_key(key)) {
            Some("an environment variable is secret or it is not: one stands in both")
        } else if !self.variables().all(|key| name(key)) {
            Some("names of environment variables are letters, digits and _, and begin with no digit")
        } else if self.variables().any(|key| is_of_the_loader(key)) {
            Some(
                "variables that decide what the loader or the interpreter runs are not taken, such as LD_PRELOAD or BASH_ENV",
            )
        } else if self.run_as.as_ref().is_some_and(|user| {
            user.is_empty() || user.len() > 32 || user.starts_with('-') || !user.bytes().all(|c| c.is_ascii_graphic())
        }) {
            Some("the user's name has 1 to 32 characters")
        } else if self.run_as.is_some() && !self.scope.is_system() {
            Some("it runs as run_as, or as each user who is signed in")
        } else {
            None
        }
    }
}

/// Whether a variable makes a program run something else than it says (ld.so(8), bash(1)).
fn is_of_the_loader(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "BASH_ENV",
        "BASHOPTS",
        "ENV",
        "GCONV_PATH",
        "IFS",
        "LOCPATH",
        "NLSPATH",
        "PERL5OPT",
        "PROMPT_COMMAND",
        "PS4",
        "PYTHONSTARTUP",
        "SHELLOPTS",
    ];
    NAMES.contains(&name)
        || ["LD_", "DYLD_", "BASH_FUNC_"]
            .iter()
            .any(|start| name.starts_with(start))
}

fn check(params: serde_json::Value) -> Result<serde_json::Value, String> {
    let params: ShellParams = serde_json::from_value(params).map_err(|error| error.to_string())?;
    if let Some(problem) = params.problem() {
        return Err(problem.into());
    }
    serde_json::to_value(params).map_err(|error| error.to_string())
}

/// The kind.
pub const KIND: OperationKind = OperationKind {
    name: NAME,
    title: "run a script",
    permission: SHELL_RUN,
    risk: Risk::High,
    lane: Lane::Exclusive,
    idempotent: false,
    upkeep: Upkeep::Kept,
    subject: None,
    knows_absence: false,
    // Its check_script.
    dry_run_runs_code: true,
    timeout_seconds: 300,
    waits_seconds: at_once,
    max_timeout_seconds: 86_400,
    expiry_seconds: 3_600,
    streams: true,
    params_schema: schema_of::<ShellParams>,
    summary_schema: None,
    secrets: &["/secret_env/*"],
    check,
};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check_params(params: serde_json::Value, fits: bool) {
        assert_eq!(KIND.check_params(params.clone()).is_ok(), fits, "{params}");
    }

    #[test]
    fn parameters_are_checked_before_anything_is_stored() {
        check_params(json!({"script": "uname -a"}), true);
        check_params(
            json!({"script": "id", "run_as": "nobody", "environment": {"A_1": "x"}}),
            true,
        );
        check_params(json!({"script": "  "}), false);
        check_params(json!({"script": "x", "interpreter": "sh"}), false);
        check_params(json!({"script": "x", "environment": {"1A": "x"}}), false);
        check_params(json!({"script": "x", "environment": {"A=B": "x"}}), false);
        check_params(json!({"script": "x", "environment": {"LD_PRELOAD": "x"}}), false);
        check_params(json!({"script": "x", "environment": {"BASH_ENV": "x"}}), false);
        check_params(json!({"script": "x", "secret_env": {"TOKEN": "t"}}), true);
        check_params(json!({"script": "x", "secret_env": {"A B": "t"}}), false);
        check_params(json!({"script": "x", "secret_env": {"LD_AUDIT": "t"}}), false);
        check_params(
            json!({"script": "x", "secret_env": {"A": "t"}, "environment": {"A": "t"}}),
            false,
        );
        check_params(json!({"script": "x", "secret_env": {"A": "t".repeat(4096)}}), true);
        check_params(json!({"script": "x", "secret_env": {"A": "t".repeat(4097)}}), false);
        let many = |count: u32| {
            (0..count)
                .map(|n| (format!("A{n}"), json!("t")))
                .collect::<serde_json::Map<_, _>>()
        };
        check_params(json!({"script": "x", "secret_env": many(20)}), true);
        check_params(json!({"script": "x", "secret_env": many(21)}), false);
        check_params(json!({"script": "x", "run_as": "-u"}), false);
        check_params(json!({"script": "x", "scope": "users"}), true);
        check_params(json!({"script": "x", "scope": "users", "run_as": "ana"}), false);
        check_params(json!({"script": "x", "scope": "everybody"}), false);
        check_params(json!({"script": "x\u{0}y"}), false);
        check_params(json!({"script": "x", "surprise": 1}), false);
        check_params(json!("uname"), false);
        check_params(json!({}), false);
        check_params(
            json!({"script": "touch x", "check_script": "test -e x", "dry_run": true}),
            true,
        );
        check_params(json!({"check_script": "test -e x", "check_only": true}), true);
        check_params(json!({"script": "touch x", "check_only": true}), false);
        check_params(json!({"script": "touch x", "check_script": " "}), false);
        check_params(json!({"check_script": "x".repeat(MAX_SCRIPT + 1)}), false);
        check_params(json!({"script": "x".repeat(MAX_SCRIPT)}), true);
        check_params(json!({"script": "x".repeat(MAX_SCRIPT + 1)}), false);
        // Six bytes each as JSON: more than a frame holds.
        check_params(json!({"script": "\u{1}".repeat(MAX_SCRIPT)}), false);
    }
}
