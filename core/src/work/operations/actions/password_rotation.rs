//! `password.rotation`: local users have passwords that the device makes, changes now and then, and has the server keep.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    Presence,
    common::{action, action_params, is_false, is_true, yes},
    names,
};
use crate::{
    access::Permission,
    work::operations::{OperationKind, Risk, Subject, Upkeep, named},
};

/// Have devices change the passwords of local users.
pub const PASSWORD_ROTATION_RUN: Permission = Permission::new("operations.password.rotation:run");
/// The name of the kind.
pub const NAME: &str = "password.rotation";

/// The most users of an action.
const MAX_USERS: usize = 64;
const LENGTHS: std::ops::RangeInclusive<u32> = 8..=128;
const INTERVAL_DAYS: std::ops::RangeInclusive<u32> = 1..=365;
const MAX_AFTER_USE_HOURS: u32 = 8_760;

/// Which characters a password has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PasswordComplexity {
    /// Letters and digits, at least one of each and of both cases.
    #[default]
    Alphanumeric,
    /// The same and at least one other printable character.
    Complex,
}

impl PasswordComplexity {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The parameters of `password.rotation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PasswordRotationParams {
    /// Whether passwords are rotated; `absent` forgets when they were, and leaves them as they are.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Whose, 1 to 64 names.
    pub users: Vec<String>,
    /// How many characters a password has, 8 to 128.
    #[serde(default = "default_length")]
    pub length: u32,
    /// Which characters.
    #[serde(default, skip_serializing_if = "PasswordComplexity::is_default")]
    pub complexity: PasswordComplexity,
    /// After so many days a password is changed, 1 to 365.
    #[serde(default = "default_interval_days")]
    pub interval_days: u32,
    /// So many hours after its user has first signed in with it a password is changed, at most 8,760; 0 where that is no reason.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub after_use_hours: u32,
    /// Whether those whose password was changed are told, and a minute later signed out; never root.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub end_sessions: bool,
}

fn default_length() -> u32 {
    20
}

fn default_interval_days() -> u32 {
    30
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl PasswordRotationParams {
    fn check(&self) -> Result<(), String> {
        if !(1..=MAX_USERS).contains(&self.users.len()) {
            return Err(format!("users: 1 to {MAX_USERS}"));
        }
        let mut seen = BTreeSet::new();
        for user in &self.users {
            names::account("users", user)?;
            if user == "fleet-agent" {
                return Err("users: fleet-agent is the agent's own user, which no action touches".into());
            }
            if !seen.insert(user) {
                return Err(format!("users: {user} stands there twice"));
            }
        }
        if !LENGTHS.contains(&self.length) {
            return Err("length: 8 to 128".into());
        }
        if !INTERVAL_DAYS.contains(&self.interval_days) {
            return Err("interval_days: 1 to 365".into());
        }
        if self.after_use_hours > MAX_AFTER_USE_HOURS {
            return Err("after_use_hours: at most 8760".into());
        }
        Ok(())
    }
}

action_params!(PasswordRotationParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject::new(NAME, |params| named(params, "users"))),
    ..action::<PasswordRotationParams>(
        NAME,
        "rotate passwords of local users",
        PASSWORD_ROTATION_RUN,
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
        check(json!({"users": ["localadmin", "root"]}), true);
        check(json!({"users": []}), false);
        check(json!({"users": ["a", "a"]}), false);
        check(json!({"users": ["fleet-agent"]}), false);
        check(json!({"users": ["a:b"]}), false);
        check(json!({"users": ["a\nroot"]}), false);
        let many: Vec<_> = (0..65).map(|n| format!("u{n}")).collect();
        check(json!({"users": many[..64]}), true);
        check(json!({"users": many}), false);
        for (member, fits, too_much) in [
            ("length", [8, 128], [7, 129]),
            ("interval_days", [1, 365], [0, 366]),
            ("after_use_hours", [0, 8_760], [8_761, 100_000]),
        ] {
            for value in fits {
                check(json!({"users": ["a"], member: value}), true);
            }
            for value in too_much {
                check(json!({"users": ["a"], member: value}), false);
            }
        }
        check(
            json!({"users": ["a"], "complexity": "complex", "end_sessions": false}),
            true,
        );
        check(json!({"users": ["a"], "complexity": "none"}), false);
        check(json!({"users": ["a"], "state": "absent"}), true);
    }
}
