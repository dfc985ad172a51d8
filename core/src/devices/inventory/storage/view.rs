//! Inventories as they are shown outside.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{
    InventorySection, StoredMember,
    model::{PackageNote, StoredPackages},
};
use crate::{
    devices::{
        DeviceId,
        inventory::{ContentHash, Section},
    },
    kernel::Timestamp,
    store::Versioned,
};

/// One section of a device's inventory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InventorySectionView {
    /// The device.
    pub device_id: DeviceId,
    /// Which section.
    pub section: Section,
    /// How often it changed since it was first reported, 1 at first; the ETag of the resource.
    pub revision: u64,
    /// The hash of the body as the device reported it.
    pub hash: ContentHash,
    /// When the device collected it, by its own clock.
    pub collected_at: Timestamp,
    /// When the server received it. It was the same at every report since.
    pub received_at: Timestamp,
    /// The body; lists of sections leave it out. Of packages, all but the list, which is asked for by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>, nullable = false))]
    pub body: Option<Json>,
}

impl From<Versioned<InventorySection>> for InventorySectionView {
    fn from(section: Versioned<InventorySection>) -> Self {
        let revision = section.rev;
        let section = section.value;
        let mut body = section.body;
        if section.section == Section::Packages
            && let Json::Object(members) = &mut body
        {
            members.remove("notes");
            members.insert("updates".into(), section.updates.len().into());
            members.insert("security_updates".into(), section.security_updates.len().into());
        }
        Self {
            device_id: section.device,
            section: section.section,
            revision,
            hash: section.hash,
            collected_at: section.collected_at,
            received_at: section.received_at,
            body: Some(body),
        }
    }
}

/// A package that is installed on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackageView {
    /// The name.
    pub name: String,
    /// The installed version.
    pub version: String,
    /// The architecture as the package manager names it.
    pub architecture: String,
    /// The package manager, such as `dpkg`.
    pub manager: String,
    /// The source package; null when it has the same name.
    pub source: Option<String>,
    /// The version of the source package; null when it is the package's own.
    pub source_version: Option<String>,
    /// The installed size in bytes; null when the package does not tell.
    pub installed_size_bytes: Option<u64>,
    /// The version that an upgrade would install; null when there is nothing newer.
    pub available_version: Option<String>,
    /// Whether the available version comes from a security archive.
    pub security: bool,
    /// Where the available version comes from.
    pub origin: Option<String>,
    /// Whether the administrator keeps it at its version.
    pub held: bool,
}

impl PackageView {
    pub(super) fn new(member: StoredMember, note: Option<&PackageNote>) -> Self {
        let note = note.cloned().unwrap_or_default();
        let facts = note.facts.unwrap_or(member.facts);
        Self {
            name: member.name,
            version: member.version,
            architecture: member.architecture,
            manager: member.manager,
            source: facts.source,
            source_version: facts.source_version,
            installed_size_bytes: facts.installed_size_bytes,
            available_version: note.available_version,
            security: note.security,
            origin: note.origin,
            held: note.held,
        }
    }
}

impl StoredPackages {
    pub(super) fn of(section: &InventorySection) -> crate::kernel::Result<Self> {
        Self::deserialize(&section.body).map_err(crate::kernel::Error::internal)
    }
}

/// A package over all devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FleetPackageView {
    /// The name.
    pub name: String,
    /// The package manager, such as `dpkg`.
    pub manager: String,
    /// How many devices have it, in whatever version.
    pub devices: u64,
    /// How many devices wait for an update of it.
    pub updates: u64,
    /// How many devices wait for a security update of it.
    pub security_updates: u64,
    /// Its versions, the newest first; at most 100.
    pub versions: Vec<FleetPackageVersion>,
}

/// A version of a package over all devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FleetPackageVersion {
    /// The version.
    pub version: String,
    /// How many devices have it, for whatever architecture.
    pub devices: u64,
}
