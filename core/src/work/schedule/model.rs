//! What a schedule is, as it is stored and as it is asked for.

use serde::{Deserialize, Serialize};

use super::{Cron, SCHEDULE_CRON_INVALID, SCHEDULE_NEVER, zone::check_zone};
use crate::kernel::{Error, Result, Timestamp};

/// The longest that a missed run is made up for, in seconds: seven days.
pub const MAX_LATE_SECONDS: u32 = 7 * 86_400;

/// When something happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Schedule {
    /// At one time.
    Once {
        /// When.
        at: Timestamp,
    },
    /// Again and again.
    Cron {
        /// Minute, hour, day of month, month and day of week, as cron(5) reads them.
        cron: String,
        /// The time zone by its name in the IANA database, such as `Europe/Berlin`.
        zone: String,
    },
}

/// A schedule to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum NewSchedule {
    /// At one time.
    Once {
        /// When; a time to come.
        at: Timestamp,
    },
    /// Again and again.
    Cron {
        /// Minute, hour, day of month, month and day of week, as cron(5) reads them; at most 128 bytes.
        cron: String,
        /// The time zone by its name in the IANA database, such as `Europe/Berlin`; UTC when left out.
        #[serde(default = "utc")]
        zone: String,
    },
}

fn utc() -> String {
    "UTC".into()
}

impl NewSchedule {
    /// Checks it and gives back what is stored: the zone as it is spelled, and single spaces in the expression. `pointer` is where it
    /// stands in the request, for the error.
    pub fn check(&self, pointer: &str, now: Timestamp) -> Result<Schedule> {
        match self {
            Self::Once { at } if *at <= now => {
                let why = "this time is past; name one to come";
                Err(SCHEDULE_NEVER.error(why).with_field(format!("{pointer}/at"), why))
            }
            Self::Once { at } => Ok(Schedule::Once { at: *at }),
            Self::Cron { cron, zone } => {
                let (cron, zone) = check_recurring(cron, zone, pointer)?;
                Ok(Schedule::Cron { cron, zone })
            }
        }
    }
}

/// Checks an expression and a zone that stand in the members `cron` and `zone` below `pointer`, and gives back their normal form.
pub(crate) fn check_recurring(cron: &str, zone: &str, pointer: &str) -> Result<(String, String)> {
    let at = format!("{pointer}/cron");
    let parsed = Cron::parse(cron).map_err(|why| {
        let message = format!("the cron expression is not understood: {why}");
        SCHEDULE_CRON_INVALID.error(message).with_field(&at, why)
    })?;
    if !parsed.ever_fires() {
        let why = "there is no such day in any year, so it would never happen";
        return Err(SCHEDULE_NEVER.error(why).with_field(&at, why));
    }
    let zone = check_zone(zone, &format!("{pointer}/zone"))?;
    Ok((cron.split_ascii_whitespace().collect::<Vec<_>>().join(" "), zone))
}

/// What is done about times that passed while nobody looked: the server was down, or the plan was held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum MissedRuns {
    /// Nothing: the next time is the next time.
    #[default]
    Skip,
    /// However many were missed, it happens once, now.
    RunOnce {
        /// If the last of them is no longer ago than this, in seconds; at most seven days.
        within_seconds: u32,
    },
}

/// What shall be done about times that passed while nobody looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "policy", rename_all = "snake_case", deny_unknown_fields)]
pub enum NewMissedRuns {
    /// Nothing: the next time is the next time.
    #[default]
    Skip,
    /// However many were missed, it happens once, now.
    RunOnce {
        /// If the last of them is no longer ago than this, in seconds; 1 to 604,800 (seven days).
        within_seconds: u32,
    },
}

impl NewMissedRuns {
    /// Checks it and gives back what is stored; `pointer` is where it stands in the request.
    pub fn check(self, pointer: &str) -> Result<MissedRuns> {
        match self {
            Self::Skip => Ok(MissedRuns::Skip),
            Self::RunOnce { within_seconds } if (1..=MAX_LATE_SECONDS).contains(&within_seconds) => {
                Ok(MissedRuns::RunOnce { within_seconds })
            }
            Self::RunOnce { .. } => {
                let why = format!("1 to {MAX_LATE_SECONDS} seconds");
                Err(Error::invalid_field(format!("{pointer}/within_seconds"), why))
            }
        }
    }
}
