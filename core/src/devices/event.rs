//! What happens to devices by itself: the lane of their timeline.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use super::DeviceId;
use crate::{
    kernel::{EntityId as _, Result, Timestamp, canonical},
    store::{Column, ColumnType, LaneRow, Name, Tx, Value},
};

/// A device was heard of again.
pub const DEVICE_ONLINE: &str = "device.online";
/// A device was not heard of for too long.
pub const DEVICE_OFFLINE: &str = "device.offline";
/// Devices were heard of; their summaries say when, to five minutes. One event for many devices, of no one's stream.
pub const DEVICES_SEEN: &str = "devices.seen";
/// A device's agent opened a connection.
pub const DEVICE_CONNECTED: &str = "device.connected";
/// A device's next certificate was issued.
pub const DEVICE_CERTIFICATE_ISSUED: &str = "device.certificate_issued";
/// A section of a device's inventory changed.
pub const INVENTORY_CHANGED: &str = "inventory.changed";
/// A device reported packages that no other had.
pub const PACKAGES_LEARNT: &str = "inventory.packages_learnt";
/// Package sets or packages that no device has any more were marked or removed.
pub const PACKAGES_CLEANED: &str = "inventory.packages_cleaned";

/// Devices turned out to belong into other dynamic groups than they were in, for lack of a change of their own, or were settled in
/// groups that became static or dynamic. One event for many devices, of no one's stream.
pub const GROUPS_EVALUATED: &str = "devices.groups_evaluated";

/// One event on the timeline of a device. Its stream is the device; events of the fleet as a whole have the nil UUID.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceEvent {
    /// The device; none for the fleet as a whole.
    pub device: Option<DeviceId>,
    /// What happened, such as `device.offline`.
    pub event: String,
    /// When, by the server's clock.
    pub at: Timestamp,
    /// More about it.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, serde_json::Value>))]
    pub details: BTreeMap<String, Json>,
}

impl DeviceEvent {
    /// The column of the device's id.
    pub const DEVICE: Name = "device";
    /// The column of the event's type.
    pub const EVENT: Name = "event";

    /// An event without details.
    pub fn new(device: Option<DeviceId>, event: &str, at: Timestamp) -> Self {
        Self {
            device,
            event: event.to_owned(),
            at,
            details: BTreeMap::new(),
        }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Appends the event to a change.
    pub fn append_to(&self, tx: &mut Tx) -> Result<()> {
        let stream = self.device.map_or(Uuid::nil(), DeviceId::uuid);
        // The number tells events of one microsecond apart by what they say, so that only a repeat is a repeat.
        let bytes = canonical::to_vec(self).map_err(crate::kernel::Error::internal)?;
        let [a, b, c, d, ..] = *blake3::hash(&bytes).as_bytes();
        tx.append(
            stream,
            self.at,
            u32::from_be_bytes([0, b, c, d]) | u32::from(a & 0x7f) << 24,
            self,
        )
    }
}

impl LaneRow for DeviceEvent {
    const LANE: Name = "device_event";
    const VERSION: u32 = 1;

    fn columns() -> Vec<Column> {
        vec![
            Column::one(Self::DEVICE, ColumnType::Id),
            Column::one(Self::EVENT, ColumnType::Text),
        ]
    }

    fn index(&self) -> Vec<Value> {
        vec![self.device.map(DeviceId::uuid).into(), self.event.clone().into()]
    }
}
