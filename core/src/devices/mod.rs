//! Devices: enrolment, presence, labels and groups, inventory.

crate::define_id!(
    /// Names a device.
    DeviceId,
    "device"
);
