//! Audit actions and error codes of plans.

use crate::{
    access::Action,
    kernel::{Class, Code},
};

/// A plan was made.
pub const PLAN_CREATE: Action = Action::new("plan.create");
/// A plan was changed.
pub const PLAN_UPDATE: Action = Action::new("plan.update");
/// A plan was deleted.
pub const PLAN_DELETE: Action = Action::new("plan.delete");
/// A time of a plan passed without work: it was missed, or the work could not be made.
pub const PLAN_MISS: Action = Action::new("plan.miss");

/// There is no such plan.
pub const PLAN_NOT_FOUND: Code = Code::new("plan.not_found", Class::NotFound);
/// Another plan has this name.
pub const PLAN_NAME_TAKEN: Code = Code::new("plan.name_taken", Class::Conflict);
/// There are as many plans as there may be.
pub const PLAN_TOO_MANY: Code = Code::new("plan.too_many", Class::Conflict);
/// The plan was changed, or its time was settled, while its work was made.
pub const PLAN_CHANGED: Code = Code::new("plan.changed", Class::Conflict);
