//! Audit actions and error codes of groups.

use crate::{
    access::Action,
    kernel::{Class, Code},
};

/// A group was made.
pub const GROUP_CREATE: Action = Action::new("device_group.create");
/// A group was renamed, described anew, given a query or deprived of it.
pub const GROUP_UPDATE: Action = Action::new("device_group.update");
/// A group was deleted.
pub const GROUP_DELETE: Action = Action::new("device_group.delete");
/// A dynamic group was evaluated on demand.
pub const GROUP_EVALUATE: Action = Action::new("device_group.evaluate");
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
/// The members of this group follow from its query: nobody puts devices in or takes them out.
pub const GROUP_DYNAMIC: Code = Code::new("device_group.dynamic", Class::Invalid);
/// The members of this group are put in by hand: it has no query that could be evaluated.
pub const GROUP_STATIC: Code = Code::new("device_group.static", Class::Invalid);
/// There are as many dynamic groups as there may be.
pub const GROUP_TOO_MANY_DYNAMIC: Code = Code::new("device_group.too_many_dynamic", Class::Invalid);
/// The text is no query.
pub const GROUP_QUERY_INVALID: Code = Code::new("device_group.query_invalid", Class::Invalid);
/// The query goes beyond a bound of the language.
pub const GROUP_QUERY_TOO_LARGE: Code = Code::new("device_group.query_too_large", Class::Invalid);
/// The query names the group that it decides about.
pub const GROUP_QUERY_NAMES_ITSELF: Code = Code::new("device_group.query_names_itself", Class::Invalid);
