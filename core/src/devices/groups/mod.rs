//! Static groups of devices: somebody puts devices in and takes them out.

mod events;
mod model;
mod service;
#[cfg(test)]
mod tests;

pub use events::*;
pub(crate) use model::group_not_found;
pub use model::{DeviceGroup, DeviceGroupId, DeviceGroupView};
pub use service::{DeviceGroupChange, DeviceGroupService, NewDeviceGroup};
