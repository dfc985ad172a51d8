//! `flatpak`: an application is installed from a remote, for all users of a device or for single ones, or it is not.

use serde::{Deserialize, Serialize};

use super::{
    Presence,
    common::{action, action_params, is_false, read},
};
use crate::{
    access::Permission,
    work::operations::{OperationKind, Risk, Subject, Upkeep},
};

/// Install and remove Flatpaks on devices.
pub const FLATPAK_RUN: Permission = Permission::new("operations.flatpak:run");
/// The name of the kind.
pub const NAME: &str = "flatpak";
/// The remote that applications come from when nobody says.
pub const REMOTE: &str = "flathub";

/// Whose installation of Flatpak is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FlatpakScope {
    /// That of the device, which all of its users have.
    #[default]
    System,
    /// Those of single users: of whoever is signed in to a desktop when it is installed, of all who have it when it is removed.
    Users,
}

impl FlatpakScope {
    fn is_system(&self) -> bool {
        *self == Self::System
    }
}

/// The parameters of `flatpak`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FlatpakParams {
    /// Whether it is to be installed.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Which application, such as `org.gimp.GIMP`.
    pub app_id: String,
    /// For whom: `system` (all users of the device) when nobody says, or `users`.
    #[serde(default, skip_serializing_if = "FlatpakScope::is_system")]
    pub scope: FlatpakScope,
    /// The remote that it comes from, as that installation calls it; `flathub` when nobody says.
    #[serde(default = "default_remote", skip_serializing_if = "is_default_remote")]
    pub remote: String,
    /// Whether updates are to leave it as it is.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pin: bool,
}

fn default_remote() -> String {
    REMOTE.to_owned()
}

fn is_default_remote(remote: &str) -> bool {
    remote == REMOTE
}

impl FlatpakParams {
    /// The application in the installations that are meant.
    fn installed(&self) -> String {
        let scope = match self.scope {
            FlatpakScope::System => "system",
            FlatpakScope::Users => "users",
        };
        format!("{scope}/{}", self.app_id)
    }

    fn check(&self) -> Result<(), String> {
        let good = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        let parts: Vec<_> = self.app_id.split('.').collect();
        let begins = |part: &&str| part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if parts.len() < 3
            || !parts.iter().all(|part| !part.is_empty())
            || !parts.first().is_some_and(begins)
            || self.app_id.len() > 255
            || !self.app_id.bytes().all(good)
        {
            return Err(format!(
                "app_id: {:.100?} is none; take at least three parts with dots between, such as org.gimp.GIMP",
                self.app_id
            ));
        }
        let begins = self.remote.starts_with(|c: char| c.is_ascii_alphanumeric());
        match begins && self.remote.len() <= 255 && self.remote.bytes().all(good) {
            true => Ok(()),
            false => Err(format!(
                "remote: {:.100?} is none; take 1 to 255 letters, digits and . _ -, beginning with a letter or digit",
                self.remote
            )),
        }
    }
}

action_params!(FlatpakParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject::new(NAME, |params| {
        read(params).map_or_else(Vec::new, |params: FlatpakParams| vec![params.installed()])
    })),
    timeout_seconds: 3_600,
    ..action::<FlatpakParams>(
        NAME,
        "keep a Flatpak installed, or away",
        FLATPAK_RUN,
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
        let got = KIND.check_params(params.clone());
        assert_eq!(got.is_ok(), fits, "{params}: {got:?}");
    }

    #[test]
    fn parameters_are_checked_before_anything_is_stored() {
        check(json!({"app_id": "org.gimp.GIMP"}), true);
        check(
            json!({"app_id": "com.example.my-app_2", "remote": "our-apps", "pin": true}),
            true,
        );
        check(json!({"app_id": "org.gimp.GIMP", "state": "absent"}), true);
        for id in [
            "",
            "gimp",
            "org.gimp",
            "--y.a.b",
            "org.gimp.GIMP//stable",
            "org..GIMP",
            "a b.c.d",
            "1.b.c",
        ] {
            check(json!({"app_id": id}), false);
        }
        for remote in ["", "-y", "https://example.org", "a b"] {
            check(json!({"app_id": "org.gimp.GIMP", "remote": remote}), false);
        }
        check(json!({"app_id": "org.gimp.GIMP", "scope": "users"}), true);
        check(json!({"app_id": "org.gimp.GIMP", "scope": "ana"}), false);
        check(json!({"app_id": "org.gimp.GIMP", "surprise": 1}), false);
    }

    #[test]
    fn what_is_usual_is_left_out_of_the_normal_form() {
        let params = json!({"app_id": "org.gimp.GIMP", "remote": "flathub", "scope": "system"});
        assert_eq!(KIND.check_params(params).unwrap(), json!({"app_id": "org.gimp.GIMP"}));
    }
}
