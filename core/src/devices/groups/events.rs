//! Audit actions and error codes of groups.

use crate::{
    access::Action,
    kernel::{Class, Code},
};

/// A group was made.
pub const GROUP_CREATE: Action = Action::new("device_group.create");
/// A group was renamed or described anew.
pub const GROUP_UPDATE: Action = Action::new("device_group.update");
/// A group was deleted.
pub const GROUP_DELETE: Action = Action::new("device_group.delete");
/// Devices were put into a group.
pub const GROUP_MEMBERS_ADD: Action = Action::new("device_group.members.add");
/// Devices were taken out of a group.
pub const GROUP_MEMBERS_REMOVE: Action = Action::new("device_group.members.remove");

/// There is no such group.
pub const GROUP_NOT_FOUND: Code = Code::new("device_group.not_found", Class::NotFound);
/// Another group has this name.
pub const GROUP_NAME_TAKEN: Code = Code::new("device_group.name_taken", Class::Conflict);
/// The device is in as many groups as one may be in.
pub const GROUP_TOO_MANY: Code = Code::new("device_group.too_many", Class::Invalid);
