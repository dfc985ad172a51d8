//! Permissions and audit actions of settings.

use crate::access::{Action, Permission};

/// See settings and where their values come from.
pub const SETTINGS_READ: Permission = Permission::new("settings:read");
/// Change stored settings.
pub const SETTINGS_WRITE: Permission = Permission::new("settings:write");

/// A stored setting was set.
pub const SET: Action = Action::new("setting.set");
/// A stored setting was removed, so that the default holds again.
pub const RESET: Action = Action::new("setting.reset");
