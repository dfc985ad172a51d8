//! The system as a whole: operating system, processors, memory.

use serde::{Deserialize, Serialize};

use crate::kernel::Timestamp;

/// The operating system (section `os`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Os {
    /// The distribution's id from os-release(5), such as `debian`.
    pub id: String,
    /// The distribution's name, such as `Debian GNU/Linux`.
    pub name: String,
    /// The name with the version as the distribution writes it for people, such as `Debian GNU/Linux 12 (bookworm)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretty_name: Option<String>,
    /// The release, such as `12`; rolling distributions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The release's code name, such as `bookworm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codename: Option<String>,
    /// What the distribution descends from, nearest first (`ID_LIKE` of os-release), its own id at the front.
    #[serde(default)]
    pub family: Vec<String>,
    /// The kernel's name, such as `Linux`.
    pub kernel_name: String,
    /// The release of the running kernel, such as `6.1.0-37-amd64`.
    pub kernel_running: String,
    /// The newest kernel release installed beside it; absent where none is found (a container, a kernel from outside).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_newest_installed: Option<String>,
    /// The processor architecture as the kernel names it, such as `x86_64`.
    pub architecture: String,
    /// The host name as the kernel knows it.
    pub hostname: String,
    /// When the kernel started, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_time: Option<Timestamp>,
    /// The kind of virtual machine or container, such as `kvm`, `docker`, `none`; absent when it could not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtualisation: Option<String>,
    /// Whether the device should be restarted.
    pub reboot: Reboot,
}

/// Whether a device should be restarted, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reboot {
    /// Something that is installed takes effect only after a restart.
    pub required: bool,
    /// Why, in words, such as `linux-image-6.1.0-38-amd64 asks for it`; at most 64.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// The processors (section `cpu`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cpu {
    /// The model's name as the processor or the kernel tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The vendor, such as `GenuineIntel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Processors in their own sockets; absent where the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<u32>,
    /// Cores over all sockets; absent where the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Threads that the kernel schedules on.
    pub threads: u32,
}

/// The memory (section `memory`). What changes from minute to minute is a metric and not here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Memory {
    /// Memory that the kernel can use, in bytes.
    pub total_bytes: u64,
    /// Swap space, in bytes; 0 where there is none.
    pub swap_total_bytes: u64,
}
