//! What is stored of inventories.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{InventorySectionId, PackageMemberId, PackageSetId};
use crate::{
    Entity,
    devices::{
        DeviceId,
        inventory::{ContentHash, PackageMember, Section},
    },
    kernel::Timestamp,
};

/// One section of a device's inventory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "inventory_section", version = 1)]
#[entity(computed(section, text, with = InventorySection::section_name))]
pub struct InventorySection {
    /// Its id; it follows from device and section.
    #[entity(id)]
    pub id: InventorySectionId,
    /// The device.
    #[entity(reference)]
    pub device: DeviceId,
    /// Which section.
    pub section: Section,
    /// The hash of the body as the device reported it.
    pub hash: ContentHash,
    /// When the device collected it, by its own clock.
    pub collected_at: Timestamp,
    /// When the server received it.
    pub received_at: Timestamp,
    /// The body as it was reported; of packages, all but the list, which is a set.
    #[entity(opaque)]
    pub body: Json,
    /// Of packages: those that updates wait for, each as `manager/name`.
    #[serde(default)]
    #[entity(text, many)]
    pub updates: Vec<String>,
    /// Of packages: those that security updates wait for.
    #[serde(default)]
    #[entity(text, many)]
    pub security_updates: Vec<String>,
}

impl InventorySection {
    fn section_name(&self) -> String {
        self.section.name().to_owned()
    }
}

/// What is stored of the section of packages: the list itself is the set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredPackages {
    pub available: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub manager: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates_problem: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists_updated_at: Option<Timestamp>,
    pub truncated: bool,
    pub left_out: u64,
    /// How many packages are installed.
    pub installed: u64,
    /// The set of them.
    pub set: PackageSetId,
    /// What is true of a package on this device, where there is anything to say.
    pub notes: Vec<PackageNote>,
}

/// What is true of a package on one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PackageNote {
    pub name: String,
    pub version: String,
    pub architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_version: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub security: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Where this device says otherwise than the one that reported the package first: nobody speaks for another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<PackageFacts>,
}

/// What a package says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageFacts {
    /// The source package, where it has another name.
    pub source: Option<String>,
    /// The version of the source package, where it is another.
    pub source_version: Option<String>,
    /// The installed size in bytes.
    pub installed_size_bytes: Option<u64>,
}

/// A package in one version for one architecture, which any number of sets hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "package_member", version = 1)]
#[entity(index = "name, version_key")]
pub struct StoredMember {
    /// Its id; it follows from its number.
    #[entity(id)]
    pub id: PackageMemberId,
    /// Its number in sets.
    #[entity(int)]
    pub number: i64,
    /// The package manager.
    #[entity(text)]
    pub manager: String,
    /// The name.
    #[entity(text)]
    pub name: String,
    /// The version.
    pub version: String,
    /// A text whose byte order is the order of versions.
    #[entity(text)]
    pub version_key: String,
    /// The architecture.
    pub architecture: String,
    /// What the device said of it that reported it first.
    pub facts: PackageFacts,
    /// Since when it may be that no set holds it; the cleaning looks at it when some time has passed.
    #[entity(int)]
    pub doubted_since: Option<Timestamp>,
}

impl StoredMember {
    pub(super) fn new(member: &PackageMember, facts: PackageFacts, now: Timestamp) -> Self {
        let number = member.member_id();
        Self {
            id: PackageMemberId::of(number),
            number,
            manager: member.manager.clone(),
            name: member.name.clone(),
            version: member.version.clone(),
            version_key: member.version_key(),
            architecture: member.architecture.clone(),
            facts,
            // No set holds it yet, and none ever may, if the report comes to nothing.
            doubted_since: Some(now),
        }
    }

    /// What it is, apart from how it is stored.
    pub(super) fn member(&self) -> PackageMember {
        PackageMember {
            manager: self.manager.clone(),
            name: self.name.clone(),
            version: self.version.clone(),
            architecture: self.architecture.clone(),
        }
    }
}

/// A package set, which any number of devices have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "package_set", version = 1)]
#[entity(computed(own_id, reference, with = StoredSet::own_id))]
pub struct StoredSet {
    /// Its id; it follows from its hash.
    #[entity(id)]
    pub id: PackageSetId,
    /// Its hash.
    pub hash: ContentHash,
    /// The numbers of its members, in the order of their names.
    #[entity(int, many)]
    pub members: Vec<i64>,
    /// Since when it may be that no device has it; the cleaning looks at it when some time has passed.
    #[entity(int)]
    pub doubted_since: Option<Timestamp>,
}

impl StoredSet {
    // A count by this column names the sets that match without reading them.
    fn own_id(&self) -> PackageSetId {
        self.id
    }
}
