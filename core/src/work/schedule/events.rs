//! Error codes of schedules.

use crate::kernel::{Class, Code};

/// The cron expression is not one.
pub const SCHEDULE_CRON_INVALID: Code = Code::new("schedule.cron_invalid", Class::Invalid);
/// The schedule has no time left, or names a day that no calendar has.
pub const SCHEDULE_NEVER: Code = Code::new("schedule.never", Class::Invalid);
/// There is no such time zone.
pub const SCHEDULE_ZONE_UNKNOWN: Code = Code::new("schedule.zone_unknown", Class::Invalid);
