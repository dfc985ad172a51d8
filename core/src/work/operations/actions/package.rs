//! `package`: a package of the device's own package manager is installed, in this version, or it is not.

use serde::{Deserialize, Serialize};

use super::{
    Presence,
    common::{action, action_params, is_false, read},
    names,
};
use crate::{
    access::Permission,
    work::operations::{OperationKind, Risk, Subject, Upkeep},
};

/// Install and remove packages on devices.
pub const PACKAGE_RUN: Permission = Permission::new("operations.package:run");
/// The name of the kind.
pub const NAME: &str = "package";

/// The parameters of `package`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PackageParams {
    /// Whether it is to be installed.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Its name, wherever no other is given for the device's package manager.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its exact version, as the package manager writes it; any when nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether to go back to `version` from a later one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_downgrade: bool,
    /// Whether upgrades are to leave it as it is.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pin: bool,
    /// Its name on devices with apt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apt_name: Option<String>,
    /// Its name on devices with dnf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dnf_name: Option<String>,
    /// Its name on devices with zypper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zypper_name: Option<String>,
    /// Its name on devices with pacman.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pacman_name: Option<String>,
    /// Its name on devices with apk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apk_name: Option<String>,
}

impl PackageParams {
    /// Its own name for each package manager that has one.
    fn own_names(&self) -> [(&'static str, &'static str, &Option<String>); 5] {
        [
            ("apt", "apt_name", &self.apt_name),
            ("dnf", "dnf_name", &self.dnf_name),
            ("zypper", "zypper_name", &self.zypper_name),
            ("pacman", "pacman_name", &self.pacman_name),
            ("apk", "apk_name", &self.apk_name),
        ]
    }

    /// Manager and name, for each manager that it has a name for.
    fn known_as(&self) -> Vec<String> {
        let names = self
            .own_names()
            .map(|(manager, _, own)| (manager, own.as_ref().unwrap_or(&self.name)));
        let known = names.into_iter().filter(|(_, name)| !name.is_empty());
        known.map(|(manager, name)| format!("{manager}/{name}")).collect()
    }

    fn check(&self) -> Result<(), String> {
        let others = self.own_names();
        if self.name.is_empty() && others.iter().all(|(_, _, name)| name.is_none()) {
            return Err("name: say which package".into());
        }
        let others = others
            .into_iter()
            .filter_map(|(_, member, name)| Some((member, name.as_ref()?)));
        let own = Some(("name", &self.name)).filter(|(_, name)| !name.is_empty());
        for (member, name) in own.into_iter().chain(others) {
            names::package(member, name, 255)?;
            if self.state.is_absent() {
                names::not_agent(member, name)?;
            }
        }
        match &self.version {
            Some(version) => names::package("version", version, 128),
            None if self.allow_downgrade => Err("allow_downgrade: say to which version".into()),
            None => Ok(()),
        }
    }
}

action_params!(PackageParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject::new(NAME, |params| {
        read(params).map_or_else(Vec::new, |params: PackageParams| params.known_as())
    })),
    timeout_seconds: 1_800,
    ..action::<PackageParams>(
        NAME,
        "keep a package installed, or away",
        PACKAGE_RUN,
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
        check(json!({"name": "nginx"}), true);
        check(
            json!({"name": "nginx", "version": "1:1.22.1-9+deb12u1", "allow_downgrade": true, "pin": true}),
            true,
        );
        check(json!({"apt_name": "apache2", "dnf_name": "httpd"}), true);
        check(json!({"name": "nginx", "state": "absent"}), true);
        check(json!({}), false);
        check(json!({"name": "-y"}), false);
        check(json!({"name": "nginx curl"}), false);
        check(json!({"name": "nginx", "dnf_name": "*"}), false);
        check(json!({"name": "nginx", "version": "1 2"}), false);
        check(json!({"name": "nginx", "allow_downgrade": true}), false);
    }

    #[test]
    fn the_agent_does_not_remove_itself() {
        check(json!({"name": "fleet-agent"}), true);
        check(json!({"name": "fleet-agent", "state": "absent"}), false);
        check(
            json!({"name": "x", "dnf_name": "fleet-agent", "state": "absent"}),
            false,
        );
        check(json!({"name": "fleet-agent:amd64", "state": "absent"}), false);
    }
}
