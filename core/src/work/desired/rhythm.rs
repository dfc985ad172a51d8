//! How often a device looks whether something is as it shall be.

use serde::{Deserialize, Serialize};

use crate::{
    kernel::{Error, Result},
    work::schedule::check_recurring,
};

/// Every eight hours: what drifts is put right within a working day.
const DEFAULT_SECONDS: u32 = 8 * 3_600;
/// The shortest interval, in seconds: agents look once a minute.
const MIN_SECONDS: u32 = 60;
/// The longest interval, in seconds: 31 days.
const MAX_SECONDS: u32 = 31 * 86_400;

/// How often a device looks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rhythm {
    /// When.
    pub when: RhythmTimes,
    /// Whether it looks at once when what it shall apply is new or was changed.
    pub on_change: bool,
    /// Whether it keeps to itself that it changed something, where what that printed is the same as the last time.
    pub skip_unchanged: bool,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            when: RhythmTimes::Interval {
                every_seconds: DEFAULT_SECONDS,
            },
            on_change: true,
            skip_unchanged: false,
        }
    }
}

/// When a device looks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RhythmTimes {
    /// So long after the last time.
    Interval {
        /// How long, in seconds.
        every_seconds: u32,
    },
    /// By the device's own clock and time zone.
    Cron {
        /// Minute, hour, day of month, month and day of week, as cron(5) reads them.
        cron: String,
    },
}

/// How often a device shall look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewRhythm {
    /// When.
    pub when: NewRhythmTimes,
    /// Whether it looks at once when what it shall apply is new or was changed.
    #[serde(default = "yes")]
    pub on_change: bool,
    /// Whether it keeps to itself that it changed something, where what that printed is the same as the last time.
    #[serde(default)]
    pub skip_unchanged: bool,
}

/// When a device shall look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum NewRhythmTimes {
    /// So long after the last time.
    Interval {
        /// How long, in seconds: 60 to 2,678,400 (31 days).
        every_seconds: u32,
    },
    /// By the device's own clock and time zone.
    Cron {
        /// Minute, hour, day of month, month and day of week, as cron(5) reads them; at most 128 bytes.
        cron: String,
    },
}

fn yes() -> bool {
    true
}

impl NewRhythm {
    /// Checks it and gives back what is stored; `pointer` is where it stands in the request.
    pub(super) fn check(&self, pointer: &str) -> Result<Rhythm> {
        let when = match &self.when {
            NewRhythmTimes::Interval { every_seconds } if (MIN_SECONDS..=MAX_SECONDS).contains(every_seconds) => {
                RhythmTimes::Interval {
                    every_seconds: *every_seconds,
                }
            }
            NewRhythmTimes::Interval { .. } => {
                let why = format!("{MIN_SECONDS} to {MAX_SECONDS} seconds");
                return Err(Error::invalid_field(format!("{pointer}/when/every_seconds"), why));
            }
            // Whatever the device's zone, the expression is the same.
            NewRhythmTimes::Cron { cron } => RhythmTimes::Cron {
                cron: check_recurring(cron, "UTC", &format!("{pointer}/when"))?.0,
            },
        };
        Ok(Rhythm {
            when,
            on_change: self.on_change,
            skip_unchanged: self.skip_unchanged,
        })
    }
}
