//! `user`: a local user is there as described, or is gone with its home.

use serde::{Deserialize, Serialize};

use super::{
    Presence,
    common::{action, action_params, is_false},
    names, paths,
};
use crate::{
    access::Permission,
    work::{
        operations::{OperationKind, Risk, Subject, Upkeep, named},
        secrets::SecretText,
    },
};

/// Make, alter and remove local users of devices.
pub const USER_RUN: Permission = Permission::new("operations.user:run");
/// The name of the kind.
pub const NAME: &str = "user";

/// The most keys of a user.
const MAX_KEYS: usize = 100;

/// The parameters of `user`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserParams {
    /// Whether it is to be there; `absent` ends its sessions and removes its home, too.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Its name.
    pub name: String,
    /// Its number, where it is made; one that is there with another number is an error, as its files would become another's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its home; `/home/NAME` where it is made and nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Its shell; `/bin/bash` where it is made and nobody says, and no login for users of the system and disabled ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// Who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Its first group; one of its own where it is made and nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_group: Option<String>,
    /// Whether it belongs to a service and to nobody who signs in.
    #[serde(default, skip_serializing_if = "is_false")]
    pub system: bool,
    /// Whether its home is made where it is missing; when nobody says, that of users who are not of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_home: Option<bool>,
    /// Whether nobody may sign in as it, by password or key.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disabled: bool,
    /// Whether the sign-in screen leaves it out; left as it is when nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<bool>,
    /// Its first password: set where the user is made by this, or has none; one that is there is left as it is. 8 to 128 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, write_only))]
    pub password: Option<SecretText>,
    /// Whether a user that is made by this gets a first password that the device makes and the server keeps in escrow. Users that are there
    /// get none.
    #[serde(default, skip_serializing_if = "is_false")]
    pub generate_password: bool,
    /// Whether whoever signs in with the first password has to choose another one first.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force_password_change: bool,
    /// The keys that sign in as it: these and no others; left as they are when nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_authorized_keys: Option<Vec<String>>,
}

impl UserParams {
    /// Whether its home is made where it is missing.
    pub fn wants_home(&self) -> bool {
        self.create_home.unwrap_or(!self.system)
    }

    fn check(&self) -> Result<(), String> {
        names::account("name", &self.name)?;
        if matches!(self.name.as_str(), "root" | "fleet-agent") {
            return Err(format!(
                "name: {} is the agent's own user, which no action touches",
                self.name
            ));
        }
        if self.uid == Some(0) || self.uid == Some(u32::MAX) {
            return Err("uid: 1 to 4294967294; 0 is root's".into());
        }
        if let Some(home) = &self.home {
            paths::check_file(home, &[]).map_err(|problem| format!("home, as a {problem}"))?;
            field("home", home)?;
        }
        if let Some(shell) = &self.shell {
            paths::check_shape(shell).map_err(|problem| format!("shell, as a {problem}"))?;
            field("shell", shell)?;
        }
        if let Some(comment) = &self.comment {
            names::line("comment", comment, 200)?;
            field("comment", comment)?;
        }
        if let Some(group) = &self.primary_group {
            names::account("primary_group", group)?;
        }
        match (&self.password, self.generate_password) {
            (Some(_), true) => return Err("generate_password: a password is given already".into()),
            (Some(password), false) => check_password(password.reveal())?,
            (None, true) if self.system || self.disabled => {
                return Err("generate_password: nobody signs in as a user of the system, or a disabled one".into());
            }
            (None, false) if self.force_password_change => {
                return Err(
                    "force_password_change: give the password that is to be changed, or generate_password".into(),
                );
            }
            (None, _) => {}
        }
        let keys = self.ssh_authorized_keys.iter().flatten();
        if keys.clone().count() > MAX_KEYS {
            return Err(format!("ssh_authorized_keys: at most {MAX_KEYS}"));
        }
        keys.into_iter().try_for_each(|key| check_key(key))
    }
}

/// A password that one line of chpasswd(8) holds. What is wrong with it is said without it.
fn check_password(password: &str) -> Result<(), String> {
    if !(8..=128).contains(&password.len()) {
        Err("password: 8 to 128 bytes".into())
    } else if password.chars().any(char::is_control) {
        Err("password: without control characters, so that it can be typed".into())
    } else {
        Ok(())
    }
}

/// A member of a line of passwd(5).
fn field(member: &str, text: &str) -> Result<(), String> {
    match text.contains(':') {
        true => Err(format!(
            "{member}: without a colon, which separates the members of passwd(5)"
        )),
        false => Ok(()),
    }
}

/// One line of authorized_keys(5), without options: those could run programs.
fn check_key(key: &str) -> Result<(), String> {
    names::line("ssh_authorized_keys", key, 8_192)?;
    let mut words = key.split(' ');
    let kind = words.next().unwrap_or_default();
    let is_kind = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"]
        .iter()
        .any(|start| kind.starts_with(start));
    let body = words.next().unwrap_or_default();
    let is_body = body.len() >= 16 && body.bytes().all(|c| c.is_ascii_alphanumeric() || b"+/=".contains(&c));
    if is_kind && is_body {
        Ok(())
    } else {
        Err(format!(
            "ssh_authorized_keys: {key:.40?} is none; take a line such as `ssh-ed25519 AAAA… comment`, without options"
        ))
    }
}

action_params!(UserParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject::new(NAME, |params| named(params, "name"))),
    secrets: &["/password"],
    ..action::<UserParams>(
        NAME,
        "keep a local user as it should be",
        USER_RUN,
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
            json!({"name": "deploy", "uid": 2000, "shell": "/bin/sh", "comment": "Deploys, daily"}),
            true,
        );
        check(
            json!({"name": "deploy", "ssh_authorized_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@there"]}),
            true,
        );
        check(json!({"name": "deploy", "ssh_authorized_keys": []}), true);
        check(json!({"name": "Deploy"}), false);
        check(json!({"name": "deploy", "uid": 0}), false);
        check(json!({"name": "deploy", "home": "/"}), false);
        check(json!({"name": "deploy", "home": "/etc/shadow"}), false);
        check(json!({"name": "deploy", "home": "/home/a:b"}), false);
        check(json!({"name": "deploy", "shell": "sh"}), false);
        check(json!({"name": "deploy", "comment": "a:b"}), false);
        check(json!({"name": "deploy", "comment": "a\nroot::0:0::/:/bin/sh"}), false);
    }

    #[test]
    fn a_first_password_can_be_typed_and_changed() {
        check(json!({"name": "deploy", "password": "********"}), true);
        check(
            json!({"name": "deploy", "password": "a:b c\u{e4}d", "force_password_change": true}),
            true,
        );
        check(json!({"name": "deploy", "password": "x".repeat(128)}), true);
        check(json!({"name": "deploy", "password": "x".repeat(129)}), false);
        check(json!({"name": "deploy", "password": "short 7"}), false);
        check(json!({"name": "deploy", "password": "two\nlines: root"}), false);
        check(json!({"name": "deploy", "force_password_change": true}), false);
    }

    #[test]
    fn a_password_is_made_for_people_who_sign_in_and_have_none_given() {
        check(json!({"name": "deploy", "generate_password": true}), true);
        check(
            json!({"name": "deploy", "generate_password": true, "force_password_change": true}),
            true,
        );
        check(
            json!({"name": "deploy", "generate_password": true, "password": "given to it"}),
            false,
        );
        check(
            json!({"name": "deploy", "generate_password": true, "system": true}),
            false,
        );
        check(
            json!({"name": "deploy", "generate_password": true, "disabled": true}),
            false,
        );
    }

    #[test]
    fn a_key_is_one_line_and_has_no_options() {
        for key in [
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5\nssh-rsa AAAAB3NzaC1yc2EAAAA",
            "command=\"id\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
            "ssh-ed25519",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "",
        ] {
            check(json!({"name": "deploy", "ssh_authorized_keys": [key]}), false);
        }
    }

    #[test]
    fn the_agents_own_user_is_off_limits() {
        check(json!({"name": "root", "disabled": true}), false);
        check(json!({"name": "root", "state": "absent"}), false);
        check(json!({"name": "fleet-agent", "state": "absent"}), false);
    }
}
