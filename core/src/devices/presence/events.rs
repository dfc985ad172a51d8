//! Error codes of presence. Its events are those of the devices' timeline.

use crate::kernel::{Class, Code};

/// A newer connection of the device took the place of this one.
pub const LINK_SUPERSEDED: Code = Code::new("link.superseded", Class::Conflict);
