//! What a schedule would do, before it is used.

use serde::{Deserialize, Serialize};

use super::{MAX_UPCOMING, NewSchedule, Schedule, describe, upcoming};
use crate::kernel::{Error, Result, Timestamp};

/// How many times are told when nobody says.
const DEFAULT_TIMES: u32 = 10;

/// A question what a schedule would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"schedule": {"type": "cron", "cron": "0 3 * * 0", "zone": "Europe/Berlin"}, "count": 3})))]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// The schedule.
    pub schedule: NewSchedule,
    /// Times after this one; now when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub from: Option<Timestamp>,
    /// How many times, 1 to 100; 10 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub count: Option<u32>,
}

/// What a schedule would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SchedulePreview {
    /// The schedule as it would be stored.
    pub schedule: Schedule,
    /// The schedule in words, such as `every Sunday at 03:00 Europe/Berlin`.
    pub description: String,
    /// The next times, as many as were asked for or as there are.
    pub times: Vec<Timestamp>,
}

/// Says what a schedule would do.
pub fn preview(request: &PreviewRequest, now: Timestamp) -> Result<SchedulePreview> {
    let from = request.from.unwrap_or(now);
    let count = request.count.unwrap_or(DEFAULT_TIMES) as usize;
    if count == 0 || count > MAX_UPCOMING {
        return Err(Error::invalid_field("/count", format!("1 to {MAX_UPCOMING}")));
    }
    let schedule = request.schedule.check("/schedule", from)?;
    Ok(SchedulePreview {
        description: describe(&schedule),
        times: upcoming(&schedule, from, count),
        schedule,
    })
}
