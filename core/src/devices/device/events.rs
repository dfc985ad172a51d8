//! Audit actions and error codes of devices.

use crate::{
    access::Action,
    kernel::{Class, Code},
};

/// A device was renamed, disabled or enabled.
pub const DEVICE_UPDATE: Action = Action::new("device.update");
/// Labels of devices were set.
pub const DEVICE_LABEL_SET: Action = Action::new("device.label.set");
/// Labels of devices were removed.
pub const DEVICE_LABEL_REMOVE: Action = Action::new("device.label.remove");
/// A device was deleted.
pub const DEVICE_DELETE: Action = Action::new("device.delete");
/// The key of a device was revoked, and its certificate with it.
pub const DEVICE_REVOKE: Action = Action::new("device.revoke");
/// A device that waited was let in.
pub const DEVICE_APPROVE: Action = Action::new("device.approve");
/// A device that waited was turned away.
pub const DEVICE_REJECT: Action = Action::new("device.reject");

/// There is no such device, or the actor may not know of it.
pub const DEVICE_NOT_FOUND: Code = Code::new("device.not_found", Class::NotFound);
/// The device was deleted here: its agent should forget the server and stop. Only its agent is told so.
pub const DEVICE_GONE: Code = Code::new("device.gone", Class::NotFound);
/// The device is disabled: it may not connect.
pub const DEVICE_DISABLED: Code = Code::new("device.disabled", Class::Denied);
/// The device's key was revoked: it may not connect before it is enrolled again, with a new key.
pub const DEVICE_REVOKED: Code = Code::new("device.revoked", Class::Denied);
/// A label's name or value breaks a rule, or there are too many.
pub const DEVICE_LABEL_INVALID: Code = Code::new("device.label_invalid", Class::Invalid);
/// A name breaks a rule.
pub const DEVICE_NAME_INVALID: Code = Code::new("device.name_invalid", Class::Invalid);
/// More devices in one call than are allowed.
pub const DEVICE_TOO_MANY: Code = Code::new("device.too_many", Class::Invalid);
/// The device waits for an operator to let it in.
pub const DEVICE_PENDING: Code = Code::new("device.pending", Class::Denied);
/// The device does not wait to be let in.
pub const DEVICE_NOT_PENDING: Code = Code::new("device.not_pending", Class::Conflict);
