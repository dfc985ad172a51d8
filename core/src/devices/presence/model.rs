//! What is kept of heartbeats and connections.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Entity,
    devices::DeviceId,
    kernel::Timestamp,
    protocol::Gauges,
    store::{LatestValue, Name, Value},
};

/// A heartbeat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceBeat {
    /// The number of the connection that it came by.
    pub epoch: u64,
    /// The version of the agent.
    pub agent_version: String,
    /// What changes all the time.
    pub gauges: Gauges,
}

/// The state of a device at its last heartbeat: a latest value, written with each beat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceState {
    // In the order that they are stored in: each heartbeat writes them.
    /// The version of its agent.
    pub agent_version: String,
    /// The connection that it came by.
    pub epoch: u64,
    /// What changes all the time.
    pub gauges: Gauges,
    /// When the server heard of it, by the server's clock.
    pub seen_at: Timestamp,
}

impl LatestValue for DeviceState {
    type Id = DeviceId;
    const SET: Name = "device_state";
    const VERSION: u32 = 1;
}

/// The state of a device at its last heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceStateView {
    /// When the server heard of it, by the server's clock.
    pub seen_at: Timestamp,
    /// What changes all the time.
    pub gauges: Gauges,
}

impl From<DeviceState> for DeviceStateView {
    fn from(state: DeviceState) -> Self {
        Self {
            seen_at: state.seen_at,
            gauges: state.gauges,
        }
    }
}

/// Which server holds the connection of a device, and the number of that connection. The newest counts; older ones are
/// refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "device_link", version = 1)]
#[entity(computed(server, reference, with = DeviceLink::server_id))]
pub struct DeviceLink {
    /// The device.
    #[entity(id)]
    pub id: DeviceId,
    /// The server.
    pub server: Uuid,
    /// The number of the connection: 1 for the first, rising.
    pub epoch: u64,
    /// When it was opened.
    pub connected_at: Timestamp,
}

impl DeviceLink {
    fn server_id(&self) -> Value {
        Value::Id(self.server)
    }
}
