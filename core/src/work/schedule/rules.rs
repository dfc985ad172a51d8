//! The next time, the last time, and what is due; pure.

use std::time::Duration;

use jiff::{
    SignedDuration,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};
use uuid::Uuid;

use super::{Cron, MissedRuns, Schedule, zone::zone};
use crate::kernel::Timestamp;

/// The most times that are told at once.
pub const MAX_UPCOMING: usize = 100;
/// How late a time may be found and still count as met, in seconds: a sweep, a restart or another server's turn lies between.
pub const ON_TIME_SECONDS: u64 = 300;
/// The most that times are spread, in seconds: a day.
pub const MAX_JITTER_SECONDS: u32 = 86_400;

/// Clock changes that are looked through: more than fifty years of the zone that has most, four a year.
const MAX_CHANGES: usize = 256;
/// Minutes of a repeated hour that are passed over; no zone ever repeated more than a day.
const MAX_REPEATED: usize = 1_500;
/// Missed times are counted up to here.
const MAX_MISSED: u32 = 1_000;

/// A schedule that is ready to be asked.
#[derive(Clone, Debug)]
pub struct Timetable(When);

#[derive(Clone, Debug)]
enum When {
    Never,
    Once(Timestamp),
    Cron(Box<Cron>, TimeZone),
}

impl Timetable {
    /// Reads a schedule. What was checked at the door is always understood; a stored expression that is not, because a later
    /// version wrote it, never fires, and a zone that is not known any more is taken as UTC.
    pub fn new(schedule: &Schedule) -> Self {
        match schedule {
            Schedule::Once { at } => Self(When::Once(*at)),
            Schedule::Cron { cron, zone } => Self::recurring(cron, zone),
        }
    }

    /// The times of an expression in a zone that the device itself is in; none where the expression is not understood.
    pub fn in_zone(cron: &str, zone: TimeZone) -> Self {
        Self(Cron::parse(cron).map_or(When::Never, |cron| When::Cron(Box::new(cron), zone)))
    }

    /// The same of an expression and a zone.
    pub(crate) fn recurring(cron: &str, name: &str) -> Self {
        Self(match Cron::parse(cron) {
            Ok(cron) => When::Cron(Box::new(cron), zone(name).unwrap_or(TimeZone::UTC)),
            Err(_) => When::Never,
        })
    }

    /// The first time after this one; none when there is none within fifty years.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            When::Never => None,
            When::Once(at) => (*at > after).then_some(*at),
            When::Cron(cron, zone) => {
                // Times are whole seconds.
                let least = after.as_seconds() + 1;
                let found = match cron.is_interval() {
                    true => next_elapsed(cron, zone, least),
                    false => next_of_day(cron, zone, least),
                };
                found
                    .map(Timestamp::from_seconds)
                    .filter(|at| *at > after && *at < Timestamp::MAX)
            }
        }
    }

    /// The last time that is later than `after` and not later than `until`.
    pub fn latest(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let in_time = |after| self.next_after(after).filter(|at| *at <= until);
        let mut found = in_time(after)?;
        let mut beyond = until;
        // Halves what is left each time: a year of minutes takes as long as a minute of them.
        while let Some(next) = in_time(found) {
            found = next;
            let middle = found.plus(beyond.since(found) / 2);
            match in_time(middle) {
                Some(later) => found = later,
                None => beyond = middle,
            }
        }
        Some(found)
    }

    /// The next times after this one; at most [`MAX_UPCOMING`].
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        let first = self.next_after(after);
        let all = std::iter::successors(first, |at| self.next_after(*at));
        all.take(count.min(MAX_UPCOMING)).collect()
    }
}

/// [`Timetable::next_after`] of a schedule that is asked once.
pub fn next_after(schedule: &Schedule, after: Timestamp) -> Option<Timestamp> {
    Timetable::new(schedule).next_after(after)
}

/// [`Timetable::upcoming`] of a schedule that is asked once.
pub fn upcoming(schedule: &Schedule, after: Timestamp, count: usize) -> Vec<Timestamp> {
    Timetable::new(schedule).upcoming(after, count)
}

/// Times of day: walks the calendar, and asks for each matching minute when the clock shows it first, or jumps past it. In that
/// order these instants never go back.
fn next_of_day(cron: &Cron, zone: &TimeZone, least: i64) -> Option<i64> {
    let start = jiff::Timestamp::from_second(least).ok()?;
    let mut wall = zone.to_offset(start).to_datetime(start);
    for _ in 0..MAX_REPEATED {
        let slot = cron.next_wall(wall)?;
        let at = first_instant(zone, slot)?;
        if at >= least {
            return Some(at);
        }
        wall = slot.checked_add(SignedDuration::from_mins(1)).ok()?;
    }
    None
}

/// When the clock of a zone shows a minute first; where it never does, the first instant after the gap.
fn first_instant(zone: &TimeZone, wall: DateTime) -> Option<i64> {
    let at = match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok()?,
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok()?,
        AmbiguousOffset::Gap { before, .. } => {
            // Read as if the clock had not jumped, it lies behind the jump.
            let behind = before.to_timestamp(wall).ok()?;
            let past = behind.checked_add(SignedDuration::from_secs(1)).ok()?;
            zone.preceding(past).next()?.timestamp()
        }
    };
    Some(at.as_second())
}

/// Intervals: walks from one change of the clock to the next; in between the wall clock runs evenly.
fn next_elapsed(cron: &Cron, zone: &TimeZone, mut least: i64) -> Option<i64> {
    for _ in 0..MAX_CHANGES {
        let start = jiff::Timestamp::from_second(least).ok()?;
        let offset = zone.to_offset(start);
        let end = zone
            .following(start)
            .next()
            .map(|change| change.timestamp().as_second());
        let wall = offset.to_datetime(start);
        let seconds = i64::from(wall.second());
        let whole = if seconds == 0 { 0 } else { 60 - seconds };
        let wall = wall.checked_add(SignedDuration::from_secs(whole)).ok()?;
        let at = offset.to_timestamp(cron.next_wall(wall)?).ok()?.as_second();
        match end {
            Some(end) if at >= end => least = end,
            _ => return Some(at),
        }
    }
    None
}

/// What is due of a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The time that it is now done for. It names the work: whoever made the work of this time need not do so again.
    pub run: Option<Timestamp>,
    /// How many times passed and are not done for; at most 1,000 are counted.
    pub missed: u32,
    /// The last time that is settled, done for or missed: what `last` is the next time that one asks. None when nothing was due.
    pub settled: Option<Timestamp>,
    /// The next time to come.
    pub next: Option<Timestamp>,
}

/// Decides what is due at `now`, when everything up to `last` is settled (the time of the last run, or when the schedule was made).
/// However many times have passed, it is done at most once, for the last of them: on time, up to
/// [`ON_TIME_SECONDS`] late, or as late as `missed` allows.
pub fn turn(timetable: &Timetable, missed: MissedRuns, last: Timestamp, now: Timestamp) -> Turn {
    let next = timetable.next_after(now.max(last));
    let Some(due) = timetable.latest(last, now) else {
        return Turn {
            next,
            ..Turn::default()
        };
    };
    let allowed = match missed {
        MissedRuns::Skip => ON_TIME_SECONDS,
        MissedRuns::RunOnce { within_seconds } => ON_TIME_SECONDS.max(within_seconds.into()),
    };
    let run = (now.since(due) <= Duration::from_secs(allowed)).then_some(due);
    let mut passed = 0;
    let mut at = last;
    while passed <= MAX_MISSED
        && let Some(slot) = timetable.next_after(at).filter(|slot| *slot <= due)
    {
        passed += 1;
        at = slot;
    }
    Turn {
        run,
        missed: passed.saturating_sub(u32::from(run.is_some())).min(MAX_MISSED),
        settled: Some(due),
        next,
    }
}

/// How much later than its time something happens, so that not everything happens at once: 0 to `at_most_seconds` (a day at
/// most), always the same for the same ids, such as those of a plan and a device.
pub fn jitter(ids: &[Uuid], at_most_seconds: u32) -> Duration {
    let mut hasher = blake3::Hasher::new_derive_key("fleet schedule jitter v1");
    for id in ids {
        hasher.update(id.as_bytes());
    }
    let mut bits = [0; 8];
    hasher.finalize_xof().fill(&mut bits);
    let choices = u64::from(at_most_seconds.min(MAX_JITTER_SECONDS)) + 1;
    Duration::from_secs(u64::from_le_bytes(bits) % choices)
}
