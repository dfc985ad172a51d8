//! When a group is looked at next. Pure.

use std::time::Duration;

use fleet_core::{
    kernel::Timestamp,
    work::{
        desired::{Rhythm, RhythmTimes},
        schedule::Timetable,
    },
};
use jiff::tz::TimeZone;

use super::progress::GroupProgress;

/// When a group is looked at next, as of now: then, or now if that has passed. Nothing when its time never comes.
pub(super) fn next(rhythm: &Rhythm, progress: &GroupProgress, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    if progress.at_once {
        return Some(now);
    }
    let last = progress.looked_at.unwrap_or(progress.since);
    match &rhythm.when {
        // Of a clock that was set back nobody knows how long ago it was.
        RhythmTimes::Interval { .. } if last > now => Some(now),
        RhythmTimes::Interval { every_seconds } => Some(last.plus(Duration::from_secs(u64::from(*every_seconds)))),
        // A time of day that has been met is not met again because the clock was set back.
        RhythmTimes::Cron { cron } => Timetable::in_zone(cron, zone.clone()).next_after(last.min(now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2027-03-01T{text}:00Z").parse().unwrap()
    }

    /// `rhythm` is seconds or a cron expression; the times are of one day, in UTC.
    #[track_caller]
    fn check(rhythm: &str, looked_at: Option<&str>, now: &str, expected: &str) {
        let rhythm = Rhythm {
            when: match rhythm.parse() {
                Ok(every_seconds) => RhythmTimes::Interval { every_seconds },
                Err(_) => RhythmTimes::Cron { cron: rhythm.into() },
            },
            ..Rhythm::default()
        };
        let progress = GroupProgress {
            since: at("06:00"),
            looked_at: looked_at.map(at),
            at_once: false,
        };
        assert_eq!(next(&rhythm, &progress, &TimeZone::UTC, at(now)), Some(at(expected)));
        let progress = GroupProgress {
            at_once: true,
            ..progress
        };
        assert_eq!(next(&rhythm, &progress, &TimeZone::UTC, at(now)), Some(at(now)));
    }

    #[test]
    fn so_long_after_the_last_time() {
        check("3600", Some("08:00"), "08:10", "09:00");
        check("3600", Some("08:00"), "11:00", "09:00");
        check("3600", None, "06:10", "07:00");
    }

    #[test]
    fn at_times_of_day() {
        check("30 8 * * *", Some("07:00"), "07:10", "08:30");
        check("30 8 * * *", None, "06:10", "08:30");
        // Missed while the device was off: once, however often.
        check("*/15 * * * *", Some("07:00"), "11:00", "07:15");
    }

    #[test]
    fn when_the_clock_was_set_back_it_is_looked_at_and_no_time_of_day_comes_twice() {
        check("3600", Some("12:00"), "08:00", "08:00");
        check("30 8 * * *", Some("12:00"), "07:00", "08:30");
    }
}
