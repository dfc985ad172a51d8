//! Mounted file systems.

use serde::{Deserialize, Serialize};

/// Mounted file systems (section `mounts`); kernel interfaces such as `proc` and `cgroup` are left out.
/// The room changes from minute to minute, so this section is sent in full nearly every time; it is small.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Mounts {
    /// The mounts, by target.
    pub items: Vec<Mount>,
    /// There were more than fit.
    #[serde(default)]
    pub truncated: bool,
    /// How many were left out.
    #[serde(default)]
    pub left_out: u64,
}

/// One mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Mount {
    /// The device or the export, such as `/dev/vda1` or `files:/home`.
    pub source: String,
    /// Where it is mounted.
    pub target: String,
    /// The file system's type, such as `ext4`.
    pub fstype: String,
    /// Whether it is mounted read-only.
    pub read_only: bool,
    /// The size in bytes; absent when the file system did not answer in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Bytes in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// Bytes that an unprivileged user can still write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_bytes: Option<u64>,
    /// Inodes in all; absent where the file system makes them as needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// Inodes in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes_used: Option<u64>,
    /// Why the sizes are absent, such as `no answer within 2 seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
