//! Until when things are kept. Pure.

use std::time::Duration;

use super::{FeedMark, FeedMarks};
use crate::{kernel::Timestamp, settings::SettingKey, store::Seq};

/// Seconds of a day.
const DAY: u64 = 86_400;
/// How long feed entries and batch ids are kept: as long as an `Idempotency-Key` is honoured.
const FEED: Duration = Duration::from_secs(7 * DAY);
/// Marks are this far apart at least.
const APART: Duration = Duration::from_secs(30 * 60);
/// The most marks that are kept: a week of them, and room for clocks that jump.
const MARKS: usize = 512;
/// Ten years: longer than that is for ever, which is 0.
const MOST_DAYS: u32 = 3_660;

/// The setting of a lane's retention. The name is `retention.…_days`.
pub const fn days_setting(name: &'static str, description: &'static str, default: fn() -> u32) -> SettingKey<u32> {
    SettingKey::new(name, description, default).validated(check_days)
}

/// Checks for how many days something is kept.
pub(crate) fn check_days(days: &u32) -> Result<(), String> {
    match *days <= MOST_DAYS {
        true => Ok(()),
        false => Err(format!("0 to {MOST_DAYS} days; 0 keeps them for ever")),
    }
}

/// What is before this time goes; none when they are kept for ever.
pub(crate) fn before(days: u32, now: Timestamp) -> Option<Timestamp> {
    (days > 0).then(|| now.minus(Duration::from_secs(u64::from(days) * DAY)))
}

/// Adds a mark, and takes out those that have done their service: returns the place up to which the feed is forgotten.
pub(super) fn advance(marks: &mut FeedMarks, now: Timestamp, seq: Seq) -> Option<Seq> {
    // After a clock went back, marks of the future would keep everything for as long.
    marks.marks.retain(|mark| mark.at <= now);
    if marks.marks.last().is_none_or(|last| now.since(last.at) >= APART) {
        marks.marks.push(FeedMark { at: now, seq });
    }
    let old = marks.marks.partition_point(|mark| mark.at.plus(FEED) <= now);
    let forgotten = old.checked_sub(1).map(|last| marks.marks[last].seq);
    let most = marks.marks.len().saturating_sub(MARKS);
    marks.marks.drain(..old.max(most));
    forgotten
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(hours: i64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + hours * 3_600)
    }

    #[test]
    fn rows_are_kept_for_so_many_days_or_for_ever() {
        assert_eq!(before(0, hour(0)), None);
        assert_eq!(before(2, hour(48)), Some(hour(0)));
        assert_eq!(before(u32::MAX, Timestamp::MIN), Some(Timestamp::MIN));
    }

    #[test]
    fn the_feed_is_forgotten_when_it_is_a_week_old() {
        let mut marks = FeedMarks::default();
        for hours in 0..=167 {
            assert_eq!(advance(&mut marks, hour(hours), hours as u64 * 10), None, "{hours}");
        }
        assert_eq!(advance(&mut marks, hour(168), 1_680), Some(0));
        assert_eq!(advance(&mut marks, hour(170), 1_700), Some(20));
        assert_eq!(marks.marks.first().map(|mark| mark.seq), Some(30));
    }

    #[test]
    fn marks_stay_few_and_do_not_lie_in_the_future() {
        let mut marks = FeedMarks::default();
        for minutes in 0..1_000 {
            advance(&mut marks, hour(0).plus(Duration::from_secs(minutes * 60)), minutes);
        }
        assert_eq!(marks.marks.len(), 34);
        advance(&mut marks, hour(-5), 7);
        assert_eq!(marks.marks, [FeedMark { at: hour(-5), seq: 7 }]);
    }
}
