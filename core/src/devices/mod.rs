//! Devices: enrolment, presence, labels and groups, inventory.

pub mod inventory;

crate::define_id!(
    /// Names a device.
    DeviceId,
    "device"
);
