//! Installed packages and their updates.

use serde::{Deserialize, Serialize};

use super::{PackageMember, PackageSet};
use crate::kernel::Timestamp;

/// Installed packages (section `packages`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Packages {
    /// Whether the device has a package manager that we know; if not, `reason` says so and the list is empty.
    pub available: bool,
    /// Why there is no list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The package manager, such as `dpkg`; empty where none is known.
    #[serde(default)]
    pub manager: String,
    /// Why available versions are not known, such as a failed run of the package manager; absent when they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates_problem: Option<String>,
    /// When the package manager last loaded its lists of available versions; absent when it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists_updated_at: Option<Timestamp>,
    /// The installed packages, by name and architecture.
    pub items: Vec<InstalledPackage>,
    /// There were more than fit.
    #[serde(default)]
    pub truncated: bool,
    /// How many were left out.
    #[serde(default)]
    pub left_out: u64,
}

/// One installed package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstalledPackage {
    /// The name, such as `libc6`.
    pub name: String,
    /// The installed version.
    pub version: String,
    /// The architecture as the package manager names it, such as `amd64` or `all`.
    pub architecture: String,
    /// The source package that it was built from; absent when it has the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The version of the source package; absent when it is the package's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_version: Option<String>,
    /// The version that an upgrade would install; absent when there is nothing newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_version: Option<String>,
    /// The available version comes from a security archive (or replaces one that does).
    #[serde(default)]
    pub security: bool,
    /// Where the available version comes from, such as `Debian-Security:12/oldstable-security`; several are separated by `, `.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The administrator keeps it at its version.
    #[serde(default)]
    pub held: bool,
    /// The installed size in bytes; absent when the package does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_size_bytes: Option<u64>,
}

impl Packages {
    /// The installed packages as a content-addressed set.
    pub fn set(&self) -> PackageSet {
        PackageSet::new(self.items.iter().map(|package| PackageMember {
            manager: self.manager.clone(),
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
        }))
    }

    /// How many packages have an update that would be installed, and how many of those are security updates. Held packages
    /// do not count: nothing would install them.
    pub fn update_counts(&self) -> (u64, u64) {
        let mut counts = (0, 0);
        for package in &self.items {
            if package.available_version.is_some() && !package.held {
                counts.0 += 1;
                counts.1 += u64::from(package.security);
            }
        }
        counts
    }
}
