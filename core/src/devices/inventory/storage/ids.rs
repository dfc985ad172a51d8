//! Ids that follow from what they name, so that the same thing reported twice is one document.

use crate::{
    devices::{
        DeviceId,
        inventory::{ContentHash, Section},
    },
    kernel::{EntityId as _, named_uuid},
};

crate::define_id!(
    /// Names a section of a device's inventory.
    InventorySectionId,
    "inventory section"
);

impl InventorySectionId {
    /// The id of this section of this device.
    pub fn of(device: DeviceId, section: Section) -> Self {
        Self::from_uuid(named_uuid("inventory_section", &format!("{device}/{section}")))
    }
}

crate::define_id!(
    /// Names a package set: it follows from the set's hash.
    PackageSetId,
    "package set"
);

impl PackageSetId {
    /// The id of the set with this hash.
    pub fn of(hash: ContentHash) -> Self {
        Self::from_uuid(named_uuid("package_set", &hash.to_string()))
    }
}

crate::define_id!(
    /// Names a member of package sets: it follows from the member's number.
    PackageMemberId,
    "package"
);

impl PackageMemberId {
    /// The id of the member with this number.
    pub fn of(member: i64) -> Self {
        Self::from_uuid(named_uuid("package_member", &member.to_string()))
    }
}
