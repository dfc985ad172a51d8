//! What can be asked for.

/// A fact of a device that can be asked for by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// The name that lists show.
    Name,
    /// The host name as the kernel knows it.
    Hostname,
    /// The distribution's id, such as `debian`.
    Os,
    /// The distribution's release, such as `24.04`.
    OsVersion,
    /// The first part of the release, such as `24`.
    OsMajor,
    /// The second part of the release, such as `04`.
    OsMinor,
    /// What the distribution descends from, its own id at the front: several values, of which one is enough.
    OsFamily,
    /// The processor architecture as the kernel names it, such as `x86_64`.
    Architecture,
    /// The release of the running kernel.
    Kernel,
    /// The version of the agent.
    AgentVersion,
    /// The processor's model.
    CpuModel,
    /// Cores over all sockets.
    CpuCores,
    /// Threads that the kernel schedules on.
    CpuThreads,
    /// Memory that the kernel can use, in bytes.
    MemoryTotal,
    /// The kind of virtual machine or container, such as `kvm`; `none` on bare metal.
    Virtualisation,
    /// How many updates would be installed.
    Updates,
    /// How many of those are security updates.
    SecurityUpdates,
    /// `true` when the device should be restarted, else `false`.
    RebootRequired,
}

impl Attribute {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 18] = [
        Self::Name,
        Self::Hostname,
        Self::Os,
        Self::OsVersion,
        Self::OsMajor,
        Self::OsMinor,
        Self::OsFamily,
        Self::Architecture,
        Self::Kernel,
        Self::AgentVersion,
        Self::CpuModel,
        Self::CpuCores,
        Self::CpuThreads,
        Self::MemoryTotal,
        Self::Virtualisation,
        Self::Updates,
        Self::SecurityUpdates,
        Self::RebootRequired,
    ];

    /// Its name in a query.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Hostname => "hostname",
            Self::Os => "os",
            Self::OsVersion => "os_version",
            Self::OsMajor => "os_major",
            Self::OsMinor => "os_minor",
            Self::OsFamily => "os_family",
            Self::Architecture => "architecture",
            Self::Kernel => "kernel",
            Self::AgentVersion => "agent_version",
            Self::CpuModel => "cpu_model",
            Self::CpuCores => "cpu_cores",
            Self::CpuThreads => "cpu_threads",
            Self::MemoryTotal => "memory_total",
            Self::Virtualisation => "virtualisation",
            Self::Updates => "updates",
            Self::SecurityUpdates => "security_updates",
            Self::RebootRequired => "reboot_required",
        }
    }

    /// The attribute of a name, without regard to case. `os_platform_like` is another name of `os_family`.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("os_platform_like") {
            return Some(Self::OsFamily);
        }
        Self::ALL
            .into_iter()
            .find(|attribute| attribute.name().eq_ignore_ascii_case(name))
    }
}

/// What a condition is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A label, by its name in lower case.
    Label(String),
    /// The names of the groups that the device was put into by hand.
    Group,
    /// An attribute.
    Attribute(Attribute),
}
