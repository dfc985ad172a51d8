//! Presence: what devices say with each heartbeat, who is online, and which connection of a device counts.

mod model;

pub use model::{DeviceLink, DeviceState, DeviceStateView};
