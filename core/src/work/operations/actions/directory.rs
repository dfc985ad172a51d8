//! `directory`: a folder is there, whose and with which permissions, or it is gone with all that was in it.

use serde::{Deserialize, Serialize};

use super::{
    Presence,
    common::{action, action_params, is_false},
    names, paths,
};
use crate::{
    access::Permission,
    work::operations::{OperationKind, Risk, Subject, Upkeep, named},
};

/// Make and remove folders on devices.
pub const DIRECTORY_RUN: Permission = Permission::new("operations.directory:run");
/// The name of the kind.
pub const NAME: &str = "directory";

/// The parameters of `directory`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DirectoryParams {
    /// Whether it is to be there; `absent` removes it with all that is in it.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Which folder: an absolute path without `..`.
    pub path: String,
    /// Whose it is: a name or number; left as it is when nobody says, the agent's where it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its group: a name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its permissions, such as 0755; left as they are when nobody says, 0755 where it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Whether to make the folders above it, too, where they are missing: of the agent's user, with 0755.
    #[serde(default, skip_serializing_if = "is_false")]
    pub recursive: bool,
}

impl DirectoryParams {
    fn check(&self) -> Result<(), String> {
        match self.state {
            Presence::Present => paths::check_folder(&self.path, &[])?,
            Presence::Absent => paths::check_removal(&self.path, &[])?,
        }
        names::owner("owner", self.owner.as_deref())?;
        names::owner("group", self.group.as_deref())?;
        names::mode(self.mode.as_deref())
    }
}

action_params!(DirectoryParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject::new(paths::SUBJECT, |params| named(params, "path"))),
    ..action::<DirectoryParams>(
        NAME,
        "keep a folder as it should be",
        DIRECTORY_RUN,
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
            json!({"path": "/srv/app", "mode": "2775", "owner": "root", "recursive": true}),
            true,
        );
        check(json!({"path": "/srv/app", "state": "absent"}), true);
        check(json!({"path": "/srv"}), true);
        check(json!({"path": "/srv", "state": "absent"}), false);
        check(json!({"path": "/etc/ssh", "state": "absent"}), false);
        check(json!({"path": "/proc/1"}), false);
        check(json!({"path": "/srv/app", "mode": "8"}), false);
        check(json!({"path": "/srv/app", "content": ""}), false);
    }
}
