//! Audit actions and error codes of desired state.

use crate::{
    access::Action,
    kernel::{Class, Code},
};

/// An action was made.
pub const ACTION_CREATE: Action = Action::new("action.create");
/// An action was changed.
pub const ACTION_UPDATE: Action = Action::new("action.update");
/// An action was deleted.
pub const ACTION_DELETE: Action = Action::new("action.delete");
/// An action set was made.
pub const SET_CREATE: Action = Action::new("action_set.create");
/// An action set was changed.
pub const SET_UPDATE: Action = Action::new("action_set.update");
/// An action set was deleted.
pub const SET_DELETE: Action = Action::new("action_set.delete");
/// A definition was made.
pub const DEFINITION_CREATE: Action = Action::new("definition.create");
/// A definition was changed.
pub const DEFINITION_UPDATE: Action = Action::new("definition.update");
/// A definition was deleted.
pub const DEFINITION_DELETE: Action = Action::new("definition.delete");
/// Something was assigned.
pub const ASSIGNMENT_CREATE: Action = Action::new("assignment.create");
/// An assignment was changed.
pub const ASSIGNMENT_UPDATE: Action = Action::new("assignment.update");
/// An assignment was taken back.
pub const ASSIGNMENT_DELETE: Action = Action::new("assignment.delete");
/// A device was given to users, or taken from them.
pub const OWNERS_SET: Action = Action::new("device.owners.set");
/// Something available was chosen for a device, or not any more.
pub const SELECTION_SET: Action = Action::new("selection.set");

/// There is no such action.
pub const ACTION_NOT_FOUND: Code = Code::new("action.not_found", Class::NotFound);
/// Another action has this name.
pub const ACTION_NAME_TAKEN: Code = Code::new("action.name_taken", Class::Conflict);
/// There are as many actions as there may be.
pub const ACTION_TOO_MANY: Code = Code::new("action.too_many", Class::Conflict);
/// Sets, definitions or assignments name the action.
pub const ACTION_IN_USE: Code = Code::new("action.in_use", Class::Conflict);
/// The operation cannot be kept up: it is only run.
pub const ACTION_KIND_UNFIT: Code = Code::new("action.kind_unfit", Class::Invalid);
/// The operation knows no absence.
pub const ACTION_NEVER_ABSENT: Code = Code::new("action.never_absent", Class::Invalid);
/// There is no such action set.
pub const SET_NOT_FOUND: Code = Code::new("action_set.not_found", Class::NotFound);
/// Another action set has this name.
pub const SET_NAME_TAKEN: Code = Code::new("action_set.name_taken", Class::Conflict);
/// There are as many action sets as there may be.
pub const SET_TOO_MANY: Code = Code::new("action_set.too_many", Class::Conflict);
/// Definitions or assignments name the action set.
pub const SET_IN_USE: Code = Code::new("action_set.in_use", Class::Conflict);
/// There is no such definition.
pub const DEFINITION_NOT_FOUND: Code = Code::new("definition.not_found", Class::NotFound);
/// Another definition has this name.
pub const DEFINITION_NAME_TAKEN: Code = Code::new("definition.name_taken", Class::Conflict);
/// There are as many definitions as there may be.
pub const DEFINITION_TOO_MANY: Code = Code::new("definition.too_many", Class::Conflict);
/// Assignments name the definition.
pub const DEFINITION_IN_USE: Code = Code::new("definition.in_use", Class::Conflict);
/// A set or definition names an action or a set that there is not.
pub const MEMBER_UNKNOWN: Code = Code::new("action_set.member_unknown", Class::Invalid);
/// There is no such assignment.
pub const ASSIGNMENT_NOT_FOUND: Code = Code::new("assignment.not_found", Class::NotFound);
/// The same is assigned to the same target already, in another way.
pub const ASSIGNMENT_EXISTS: Code = Code::new("assignment.exists", Class::Conflict);
/// There are as many assignments as there may be.
pub const ASSIGNMENT_TOO_MANY: Code = Code::new("assignment.too_many", Class::Conflict);
/// The assignment names a source that there is not.
pub const ASSIGNMENT_SOURCE_UNKNOWN: Code = Code::new("assignment.source_unknown", Class::Invalid);
/// The assignment names a target that there is not.
pub const ASSIGNMENT_TARGET_UNKNOWN: Code = Code::new("assignment.target_unknown", Class::Invalid);
/// A device is given to a user that there is not.
pub const OWNER_UNKNOWN: Code = Code::new("device.owner_unknown", Class::Invalid);
/// Nothing makes this available on the device.
pub const SELECTION_NOT_AVAILABLE: Code = Code::new("selection.not_available", Class::NotFound);
/// More applies to the device than a manifest holds.
pub const MANIFEST_TOO_LARGE: Code = Code::new("manifest.too_large", Class::Invalid);
/// An action that applies to the device cannot be carried out any more: its kind is gone, or refuses its parameters.
pub const MANIFEST_ACTION_INVALID: Code = Code::new("manifest.action_invalid", Class::Invalid);
/// No manifest was compiled for the device so far.
pub const MANIFEST_NOT_FOUND: Code = Code::new("manifest.not_found", Class::NotFound);
