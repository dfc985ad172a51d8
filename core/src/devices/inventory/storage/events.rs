//! Error codes of inventory. Its events are those of the devices' timeline.

use crate::kernel::{Class, Code};

/// A report is not what it should be: its shape, or the hash of its body.
pub const REPORT_INVALID: Code = Code::new("inventory.report_invalid", Class::Invalid);
/// A report is larger than its section may be.
pub const REPORT_TOO_LARGE: Code = Code::new("inventory.report_too_large", Class::TooLarge);
/// The report carries only a hash, and the server does not have its body.
pub const BODY_WANTED: Code = Code::new("inventory.body_wanted", Class::Conflict);
/// Two packages fall on one number; the report is refused.
pub const MEMBER_COLLISION: Code = Code::new("inventory.member_collision", Class::Conflict);
/// The device has not reported this section.
pub const SECTION_NOT_FOUND: Code = Code::new("inventory.section_not_found", Class::NotFound);
