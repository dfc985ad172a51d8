//! What is stored of a group, and how it is shown.

use serde::{Deserialize, Serialize};

use super::GROUP_NOT_FOUND;
use crate::{
    Entity,
    devices::device::fold,
    kernel::{Error, Timestamp},
};

crate::define_id!(
    /// Names a group of devices.
    DeviceGroupId,
    "device group"
);

/// A group that devices are put into by hand. Who is in it stands with the devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "device_group", version = 1)]
#[entity(computed(name, text, unique, with = DeviceGroup::folded))]
pub struct DeviceGroup {
    /// Its id.
    #[entity(id)]
    pub id: DeviceGroupId,
    /// Its name; no two groups have the same, without regard to case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl DeviceGroup {
    fn folded(&self) -> String {
        fold(&self.name)
    }
}

/// A group of devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceGroupView {
    /// Its id.
    pub id: DeviceGroupId,
    /// How often it was changed since it was made, 1 at first; the ETag of the resource. Members do not count.
    pub revision: u64,
    /// Its name; no two groups have the same, without regard to case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many devices are in it.
    pub members: u64,
}

/// The refusal of a group that does not exist.
pub(crate) fn group_not_found(id: DeviceGroupId) -> Error {
    GROUP_NOT_FOUND.error(format!("there is no device group {id}"))
}
