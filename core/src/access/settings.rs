//! Settings of this part.

use crate::settings::{Seconds, SettingKey};

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// How long a session lasts at most.
pub const SESSION_LIFETIME: SettingKey<Seconds> = SettingKey::new(
    "access.session_lifetime_seconds",
    "How long a session lasts at most, in seconds: 1 hour to 90 days.",
    || Seconds(7 * DAY),
)
.validated(|value| value.within(HOUR, 90 * DAY));

/// How long a session lasts without use.
pub const SESSION_IDLE: SettingKey<Seconds> = SettingKey::new(
    "access.session_idle_seconds",
    "How long a session lasts without use, in seconds: 15 minutes to 90 days. Use is noted to within 5 minutes.",
    || Seconds(DAY),
)
.validated(|value| value.within(HOUR / 4, 90 * DAY));
