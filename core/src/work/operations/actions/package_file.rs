//! `package.file`: the package in this file is installed, in the version of the file, or it is not.

use serde::{Deserialize, Serialize};

use super::{
    Presence,
    common::{action, action_params, is_false, read},
    names, package,
};
use crate::{
    access::Permission,
    work::operations::{OperationKind, Risk, Subject, Upkeep},
};

/// Install packages on devices from files, and remove them.
pub const PACKAGE_FILE_RUN: Permission = Permission::new("operations.package.file:run");
/// The name of the kind.
pub const NAME: &str = "package.file";

/// The parameters of `package.file`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PackageFileParams {
    /// Whether it is to be installed.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done. The file is fetched, where nobody says what is in it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// The file for devices with apt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deb: Option<PackageFile>,
    /// The file for devices with dnf or zypper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpm: Option<PackageFile>,
    /// Whether to go back to the file's version from a later one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_downgrade: bool,
}

/// A package in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PackageFile {
    /// Where it is fetched from: https, or http with `sha256`; at most 2 GiB.
    pub url: String,
    /// The SHA-256 of the file, in 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The name of the package in it. With name and version the file is fetched only where it is needed; without, each time, to read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its version, as the package manager writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// How packages are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageFormat {
    /// For dpkg.
    Deb,
    /// For rpm.
    Rpm,
}

impl PackageFormat {
    /// How files of it end.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Deb => ".deb",
            Self::Rpm => ".rpm",
        }
    }
}

impl PackageFile {
    /// The name of the package, as far as it can be told without the file: what somebody says, else what the file's name says by the
    /// custom of its format.
    pub fn package(&self, format: PackageFormat) -> Option<&str> {
        if let Some(name) = &self.name {
            return Some(name);
        }
        let file = names::last_part(&self.url).strip_suffix(format.suffix())?;
        let name = match format {
            // name_version_architecture
            PackageFormat::Deb => match file.split('_').collect::<Vec<_>>()[..] {
                [name, _, _] => name,
                _ => return None,
            },
            // name-version-release.architecture
            PackageFormat::Rpm => file
                .rsplit_once('.')
                .and_then(|(file, _)| file.rsplit_once('-'))
                .and_then(|(file, _)| file.rsplit_once('-'))
                .map(|(name, _)| name)?,
        };
        is_package(name).then_some(name)
    }

    fn check(&self, format: PackageFormat, is_absent: bool) -> Result<(), String> {
        names::fetched(&self.url, self.sha256.as_deref())?;
        if let Some(name) = &self.name {
            names::package("name", name, 255)?;
        }
        if let Some(version) = &self.version {
            names::package("version", version, 128)?;
            if self.name.is_none() {
                return Err("name: say it, too, if the version is said".into());
            }
        }
        match self.package(format) {
            _ if !is_absent => Ok(()),
            Some(name) => names::not_agent("name", name),
            None => Err("name: say which package is to go; the file's name does not tell".into()),
        }
    }
}

/// Whether a text that a file contains is a name or version of a package, and nothing that a manager reads as more.
pub fn is_package(text: &str) -> bool {
    names::package("name", text, 255).is_ok()
}

impl PackageFileParams {
    /// Manager and name, for each manager whose file tells the name of its package.
    fn known_as(&self) -> Vec<String> {
        let managers = [
            ("apt", PackageFormat::Deb),
            ("dnf", PackageFormat::Rpm),
            ("zypper", PackageFormat::Rpm),
        ];
        let known = managers.into_iter().filter_map(|(manager, format)| {
            let name = self.file(format)?.package(format)?;
            Some(format!("{manager}/{name}"))
        });
        known.collect()
    }

    /// The file of a format.
    pub fn file(&self, format: PackageFormat) -> Option<&PackageFile> {
        match format {
            PackageFormat::Deb => self.deb.as_ref(),
            PackageFormat::Rpm => self.rpm.as_ref(),
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.deb.is_none() && self.rpm.is_none() {
            return Err("deb, rpm: say at least for one of them where the file is".into());
        }
        for (member, format) in [("deb", PackageFormat::Deb), ("rpm", PackageFormat::Rpm)] {
            if let Some(file) = self.file(format) {
                file.check(format, self.state.is_absent())
                    .map_err(|problem| format!("{member}.{problem}"))?;
            }
        }
        Ok(())
    }
}

action_params!(PackageFileParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject::new(package::NAME, |params| {
        read(params).map_or_else(Vec::new, |params: PackageFileParams| params.known_as())
    })),
    timeout_seconds: 1_800,
    ..action::<PackageFileParams>(
        NAME,
        "keep the package in a file installed, or away",
        PACKAGE_FILE_RUN,
        Risk::High,
        Upkeep::Kept,
    )
};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(params: Value, fits: bool) {
        let got = KIND.check_params(params.clone());
        assert_eq!(got.is_ok(), fits, "{params}: {got:?}");
    }

    #[test]
    fn parameters_are_checked_before_anything_is_stored() {
        let digest = "0123456789abcdef".repeat(4);
        check(
            json!({"deb": {"url": "https://example.org/a.deb"}, "rpm": {"url": "http://example.org/a.rpm", "sha256": digest}}),
            true,
        );
        check(
            json!({"deb": {"url": "https://example.org/a.deb", "name": "a", "version": "1:2-3"}, "allow_downgrade": true}),
            true,
        );
        check(json!({}), false);
        check(json!({"deb": {"url": "http://example.org/a.deb"}}), false);
        check(json!({"deb": {"url": "file:/a.deb", "sha256": digest}}), false);
        check(
            json!({"deb": {"url": "https://example.org/a.deb", "name": "-y"}}),
            false,
        );
        check(
            json!({"deb": {"url": "https://example.org/a.deb", "version": "1"}}),
            false,
        );
        check(
            json!({"deb": {"url": "https://example.org/a.deb", "surprise": 1}}),
            false,
        );
    }

    #[test]
    fn what_is_to_go_has_a_name() {
        let absent = |file: Value| json!({"state": "absent", "deb": file});
        check(absent(json!({"url": "https://example.org/a_1.0_all.deb"})), true);
        check(absent(json!({"url": "https://example.org/a.deb", "name": "a"})), true);
        check(absent(json!({"url": "https://example.org/a.deb"})), false);
        check(
            absent(json!({"url": "https://example.org/fleet-agent_1_amd64.deb"})),
            false,
        );
    }

    #[test]
    fn a_files_name_tells_the_package_by_custom() {
        for (format, url, expected) in [
            (PackageFormat::Deb, "https://x/nginx_1.22.1-9_amd64.deb", Some("nginx")),
            (
                PackageFormat::Deb,
                "https://x/nginx_1.22.1-9_amd64.deb?token=1",
                Some("nginx"),
            ),
            (PackageFormat::Deb, "https://x/nginx-1.22.deb", None),
            (PackageFormat::Deb, "https://x/nginx_1.22.1-9_amd64.rpm", None),
            (PackageFormat::Deb, "https://x/-y_1_all.deb", None),
            (
                PackageFormat::Rpm,
                "https://x/mod-ssl-2.4.6-1.el9.x86_64.rpm",
                Some("mod-ssl"),
            ),
            (PackageFormat::Rpm, "https://x/tool.rpm", None),
        ] {
            let file = PackageFile {
                url: url.to_owned(),
                ..PackageFile::default()
            };
            assert_eq!(file.package(format), expected, "{url}");
        }
    }
}
