//! Releases as they are stored and shown.

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    access::Actor,
    blobs::{BlobDigest, BlobRef},
    kernel::{EntityId as _, Timestamp, named_uuid},
    protocol::{AgentVersion, Sha256Digest},
};

crate::define_id!(
    /// Names a release of the agent; it follows from platform, version and content.
    AgentReleaseId,
    "agent release"
);

impl AgentReleaseId {
    /// That of a program.
    pub fn of(platform: &str, version: &AgentVersion, sha256: Sha256Digest) -> Self {
        Self::from_uuid(named_uuid("agent_release", &format!("{platform} {version} {sha256}")))
    }
}

/// How a release came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReleaseSource {
    /// Somebody uploaded it.
    Uploaded,
    /// It came with the server.
    Imported,
}

/// One version of the agent for one platform, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "agent_release", version = 1)]
#[entity(computed(held_blob, text, with = AgentRelease::held_blob))]
#[entity(computed(handed_out_as, text, unique, with = AgentRelease::handed_out_as))]
#[entity(computed(digest, text, with = AgentRelease::digest))]
pub struct AgentRelease {
    /// Its id.
    #[entity(id)]
    pub id: AgentReleaseId,
    /// The version that the program says it is.
    pub version: AgentVersion,
    /// Operating system and processor, such as `linux-x86_64`.
    #[entity(text)]
    pub platform: String,
    /// The program.
    pub blob: BlobRef,
    /// Its SHA-256.
    pub sha256: Sha256Digest,
    /// How it came.
    pub source: ReleaseSource,
    /// Who brought it.
    pub created_by: Actor,
    /// When.
    #[entity(int)]
    pub created_at: Timestamp,
    /// Since when it is handed out no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_at: Option<Timestamp>,
}

impl AgentRelease {
    /// A release that is withdrawn lets its program go.
    fn held_blob(&self) -> Option<BlobDigest> {
        self.withdrawn_at.is_none().then_some(self.blob.digest)
    }

    /// Of a version and a platform one is handed out.
    fn handed_out_as(&self) -> Option<String> {
        self.withdrawn_at
            .is_none()
            .then(|| handed_out_as(&self.platform, &self.version))
    }

    fn digest(&self) -> String {
        self.sha256.to_string()
    }
}

/// What is unique among the releases that are handed out.
pub(super) fn handed_out_as(platform: &str, version: &AgentVersion) -> String {
    format!("{platform} {version}")
}

/// A release of the agent: one version for one platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentReleaseView {
    /// Its id.
    pub id: AgentReleaseId,
    /// The version that the program says it is.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "1.4.0"))]
    pub version: AgentVersion,
    /// Operating system and processor, such as `linux-x86_64`.
    #[cfg_attr(feature = "openapi", schema(example = "linux-x86_64"))]
    pub platform: String,
    /// The size of the program, in bytes.
    pub size_bytes: u64,
    /// Its SHA-256, in hexadecimal.
    #[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 64, max_length = 64))]
    pub sha256: Sha256Digest,
    /// How it came.
    pub source: ReleaseSource,
    /// Who brought it.
    pub created_by: Actor,
    /// When.
    pub created_at: Timestamp,
    /// Since when it is handed out no more; null while it is.
    pub withdrawn_at: Option<Timestamp>,
}

impl From<AgentRelease> for AgentReleaseView {
    fn from(release: AgentRelease) -> Self {
        Self {
            id: release.id,
            version: release.version,
            platform: release.platform,
            size_bytes: release.blob.size_bytes,
            sha256: release.sha256,
            source: release.source,
            created_by: release.created_by,
            created_at: release.created_at,
            withdrawn_at: release.withdrawn_at,
        }
    }
}

/// What is said of a program that is uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAgentRelease {
    /// The version that it says it is.
    pub version: AgentVersion,
    /// What it is for; what its header says when there is none.
    pub platform: Option<String>,
}

/// Which releases are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseFilter {
    /// Only for this platform.
    pub platform: Option<String>,
}
