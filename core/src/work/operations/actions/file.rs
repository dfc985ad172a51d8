//! `file`: a file has this content, or a text stands in it, or it is gone.

use serde::{Deserialize, Serialize};

use super::{
    Presence,
    common::{action, action_params, is_false, read},
    names, paths,
};
use crate::{
    access::Permission,
    blobs::BlobDigest,
    work::operations::{OperationKind, Risk, Subject, Upkeep},
};

/// Write and remove files on devices.
pub const FILE_RUN: Permission = Permission::new("operations.file:run");
/// The name of the kind.
pub const NAME: &str = "file";

/// The parameters of `file`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FileParams {
    /// Whether it is to be there.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Which file: an absolute path without `..`.
    pub path: String,
    /// What is in it; with all parameters at most 60 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// What is in it where that is larger, or no text: the BLAKE3 of a blob of at most 10 MiB that was uploaded, 64 hexadecimal digits in
    /// lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_blob: Option<String>,
    /// Whose it is: a name or number; left as it is when nobody says, the agent's where it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its group: a name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its permissions, such as 0644; left as they are when nobody says, 0644 where it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Whether the content is one text among others in the file: it is added at the end, and taken out again, and the rest stays.
    #[serde(default, skip_serializing_if = "is_false")]
    pub managed_block: bool,
}

impl FileParams {
    /// What no other may say otherwise: the file, or the block in it, which is its text without the empty lines around it.
    fn own(&self) -> String {
        match &self.content {
            Some(content) if self.managed_block => {
                let digest = blake3::hash(content.trim_matches('\n').as_bytes()).to_hex();
                format!("{}#{:.16}", self.path, digest.as_str())
            }
            _ => self.path.clone(),
        }
    }

    /// A block leaves the rest of its file to others.
    fn shared(&self) -> Vec<String> {
        match self.managed_block {
            true => vec![self.path.clone()],
            false => Vec::new(),
        }
    }

    fn check(&self) -> Result<(), String> {
        paths::check_file(&self.path, &[])?;
        names::owner("owner", self.owner.as_deref())?;
        names::owner("group", self.group.as_deref())?;
        names::mode(self.mode.as_deref())?;
        if let Some(digest) = &self.content_blob {
            if self.content.is_some() || self.managed_block {
                return Err("content_blob: it stands in the place of content, for a whole file".into());
            }
            return match BlobDigest::parse(digest) {
                Some(_) => Ok(()),
                None => Err("content_blob: a BLAKE3 is 64 hexadecimal digits in lower case".into()),
            };
        }
        match &self.content {
            None if self.managed_block => Err("content: say which text is added or taken out".into()),
            None if self.state.is_present() => {
                Err("content: say what is in the file; an empty text makes an empty file".into())
            }
            None => Ok(()),
            Some(content) if self.managed_block && content.trim().is_empty() => {
                Err("content: an empty text stands in every file".into())
            }
            Some(content) => names::content("content", content),
        }
    }
}

action_params!(FileParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject {
        shared: |params| read(params).map_or_else(Vec::new, |params: FileParams| params.shared()),
        ..Subject::new(paths::SUBJECT, |params| {
            read(params).map_or_else(Vec::new, |params: FileParams| vec![params.own()])
        })
    }),
    ..action::<FileParams>(NAME, "keep a file as it should be", FILE_RUN, Risk::High, Upkeep::Kept)
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
            json!({"path": "/etc/motd", "content": "hello\n", "mode": "0644", "owner": "root", "group": "0"}),
            true,
        );
        check(json!({"path": "/etc/motd", "state": "absent"}), true);
        check(json!({"path": "/etc/motd", "content": ""}), true);
        check(json!({"path": "/etc/motd"}), false);
        check(json!({"path": "/etc/shadow", "content": ""}), false);
        check(json!({"path": "/etc/shadow", "state": "absent"}), false);
        check(json!({"path": "motd", "content": ""}), false);
        check(json!({"path": "/etc/motd", "content": "", "mode": "rw"}), false);
        check(
            json!({"path": "/etc/motd", "content": " \n", "managed_block": true}),
            false,
        );
        check(
            json!({"path": "/etc/motd", "state": "absent", "managed_block": true}),
            false,
        );
        check(json!({"path": "/etc/motd", "content": "", "surprise": 1}), false);
        check(json!({"path": "/etc/motd", "content": "x".repeat(61 * 1024)}), false);
        let blob = "0af".repeat(21) + "9";
        check(json!({"path": "/etc/motd", "content_blob": blob}), true);
        check(
            json!({"path": "/etc/motd", "content_blob": blob, "state": "absent"}),
            true,
        );
        check(json!({"path": "/etc/motd", "content_blob": blob, "content": ""}), false);
        check(
            json!({"path": "/etc/motd", "content_blob": blob, "managed_block": true}),
            false,
        );
        check(json!({"path": "/etc/motd", "content_blob": blob.to_uppercase()}), false);
        check(json!({"path": "/etc/motd", "content_blob": "0af"}), false);
    }

    #[test]
    fn what_nobody_said_is_left_out_of_the_normal_form() {
        let params = json!({"path": "/etc/motd", "content": "x", "state": "present", "dry_run": false});
        assert_eq!(
            KIND.check_params(params).unwrap(),
            json!({"path": "/etc/motd", "content": "x"})
        );
    }
}
