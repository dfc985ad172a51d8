//! `app-image`: a program in one file lies in a folder and can be started, or it is gone.

use serde::{Deserialize, Serialize};

use super::{
    Presence,
    common::{action, action_params, is_false, read},
    names, paths,
};
use crate::{
    access::Permission,
    work::operations::{OperationKind, Risk, Subject, Upkeep},
};

/// Put AppImages on devices, and remove them.
pub const APP_IMAGE_RUN: Permission = Permission::new("operations.app-image:run");
/// The name of the kind.
pub const NAME: &str = "app-image";
/// Where they lie when nobody says.
pub const FOLDER: &str = "/opt/appimages";

/// The parameters of `app-image`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AppImageParams {
    /// Whether it is to be there.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Where it is fetched from: https, or http with `sha256`; at most 2 GiB.
    pub url: String,
    /// The SHA-256 of the file, in 64 hexadecimal digits. Without it a file of this name counts, whatever is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// In which folder it lies; `/opt/appimages` when nobody says.
    #[serde(default = "default_folder")]
    pub folder: String,
    /// What the file is called; as its address ends when nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

fn default_folder() -> String {
    FOLDER.to_owned()
}

impl AppImageParams {
    /// Where the file lies.
    pub fn path(&self) -> String {
        let name = self.name.as_deref().unwrap_or_else(|| names::last_part(&self.url));
        format!("{}/{name}", self.folder)
    }

    fn check(&self) -> Result<(), String> {
        names::fetched(&self.url, self.sha256.as_deref())?;
        match &self.name {
            Some(name) => names::file_name("name", name)?,
            None => names::file_name("name", names::last_part(&self.url))
                .map_err(|_| "name: say what the file is to be called; its address does not end with a plain name")?,
        }
        let folder = |problem: String| problem.replacen("path:", "folder:", 1);
        paths::check_folder(&self.folder, &[]).map_err(folder)?;
        paths::check_file(&self.path(), &[]).map_err(folder)
    }
}

action_params!(AppImageParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject::new(paths::SUBJECT, |params| {
        read(params).map_or_else(Vec::new, |params: AppImageParams| vec![params.path()])
    })),
    timeout_seconds: 1_800,
    ..action::<AppImageParams>(
        NAME,
        "keep an AppImage in a folder, or away",
        APP_IMAGE_RUN,
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
        let digest = "0123456789abcdef".repeat(4);
        check(json!({"url": "https://example.org/Krita.AppImage"}), true);
        check(
            json!({"url": "http://example.org/Krita.AppImage", "sha256": digest}),
            true,
        );
        check(
            json!({"url": "https://example.org/get?id=1", "name": "krita", "folder": "/srv/apps"}),
            true,
        );
        check(json!({"url": "http://example.org/Krita.AppImage"}), false);
        check(json!({"url": "https://example.org/"}), false);
        check(json!({"url": "https://example.org/a%20b.AppImage"}), false);
        check(json!({"url": "https://example.org/a", "name": "../a"}), false);
        check(json!({"url": "https://example.org/a", "folder": "/srv/../etc"}), false);
        check(json!({"url": "https://example.org/a", "folder": "/"}), false);
        check(
            json!({"url": "https://example.org/a", "folder": "/var/lib/fleet-agent"}),
            false,
        );
        check(json!({"url": "https://example.org/passwd", "folder": "/etc"}), false);
        check(json!({"url": "https://example.org/a", "surprise": 1}), false);
    }

    #[test]
    fn the_normal_form_says_where_it_lies() {
        // A device's own policy judges by what the parameters name.
        let params = KIND.check_params(json!({"url": "https://example.org/a"})).unwrap();
        assert_eq!(
            params,
            json!({"url": "https://example.org/a", "folder": "/opt/appimages"})
        );
    }
}
