//! What is stored of owners, and how it is shown.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Entity, access::users::UserId, devices::DeviceId};

/// The most users of one device.
pub const MAX_OWNERS: usize = 50;

/// The users that a device belongs to; absent while there are none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "device_owners", version = 1)]
pub struct DeviceOwners {
    /// The device.
    #[entity(id)]
    pub id: DeviceId,
    /// The users.
    #[entity(reference, many)]
    pub users: BTreeSet<UserId>,
}

/// The users that a device shall belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"users": ["019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41"]})))]
#[serde(deny_unknown_fields)]
pub struct OwnersChange {
    /// All of them, at most 50; none takes the device from everybody.
    pub users: Vec<UserId>,
}

/// The users that a device belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceOwnersView {
    /// The device.
    pub device: DeviceId,
    /// How often they were changed since the device had the first, 0 while it has none; the ETag of the resource.
    pub revision: u64,
    /// The users.
    pub users: BTreeSet<UserId>,
}
