//! When work happens: once, or again and again by a cron expression in a time zone.
//!
//! All of it is pure: a schedule and a time go in, the next time comes out. Slots are whole minutes of the wall clock of the
//! schedule's zone. What happens where that clock jumps is decided here and nowhere else, after cron(8):
//!
//! - An expression that names hours means times of day. A time that the clock skips fires once, at the first instant after the gap
//!   (several such times, once together); a time that comes twice fires the first time only.
//! - An expression for every hour (`*/15 * * * *`, `30 * * * *`) means an interval and follows elapsed time: it fires whenever the clock
//!   shows a matching minute, also the second time that it shows it, and makes nothing up after a gap.
//!
//! So nothing fires twice at one instant, a nightly job runs once a night, and a job of every 15 minutes is never silent for an hour.
//!
//! ```
//! use fleet_core::work::schedule::{NewSchedule, Timetable, describe};
//!
//! let nightly = NewSchedule::Cron { cron: "30 2 * * *".into(), zone: "europe/berlin".into() };
//! let nightly = nightly.check("/schedule", "2027-03-27T00:00:00Z".parse().unwrap())?;
//! assert_eq!(describe(&nightly), "every day at 02:30 Europe/Berlin");
//! // On 28 March 2027 the clock goes from 02:00 to 03:00: there is no half past two.
//! let times = Timetable::new(&nightly).upcoming("2027-03-27T00:00:00Z".parse().unwrap(), 3);
//! let times: Vec<_> = times.iter().map(|at| at.to_string()[..16].to_owned()).collect();
//! assert_eq!(times, ["2027-03-27T01:30", "2027-03-28T01:00", "2027-03-29T00:30"]);
//! # Ok::<(), fleet_core::kernel::Error>(())
//! ```

mod cron;
mod describe;
mod events;
mod model;
mod preview;
mod rules;
#[cfg(test)]
mod tests;
mod zone;

pub use cron::{Cron, MAX_CRON_BYTES};
pub use describe::describe;
pub(crate) use describe::{short_time, span_text};
pub use events::*;
pub(crate) use model::check_recurring;
pub use model::{MAX_LATE_SECONDS, MissedRuns, NewMissedRuns, NewSchedule, Schedule};
pub use preview::{PreviewRequest, SchedulePreview, preview};
pub use rules::{
    MAX_JITTER_SECONDS, MAX_UPCOMING, ON_TIME_SECONDS, Timetable, Turn, jitter, next_after, turn, upcoming,
};
