//! Audit actions and error codes of windows.

use crate::{
    access::Action,
    kernel::{Class, Code},
};

/// A window was made.
pub const WINDOW_CREATE: Action = Action::new("window.create");
/// A window was changed.
pub const WINDOW_UPDATE: Action = Action::new("window.update");
/// A window was deleted.
pub const WINDOW_DELETE: Action = Action::new("window.delete");

/// There is no such window.
pub const WINDOW_NOT_FOUND: Code = Code::new("window.not_found", Class::NotFound);
/// Another window has this name.
pub const WINDOW_NAME_TAKEN: Code = Code::new("window.name_taken", Class::Conflict);
/// The window would never open again.
pub const WINDOW_NEVER_OPENS: Code = Code::new("window.never_opens", Class::Invalid);
/// The window names a group or a device that there is not.
pub const WINDOW_SCOPE_UNKNOWN: Code = Code::new("window.scope_unknown", Class::Invalid);
/// There are as many windows as there may be.
pub const WINDOW_TOO_MANY: Code = Code::new("window.too_many", Class::Conflict);
