//! When a device is offline. Pure.

use std::time::Duration;

use crate::{
    devices::DeviceId,
    kernel::{EntityId as _, Timestamp},
};

/// The time between two heartbeats.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(30);
/// A device that was not heard of for longer is offline: two beats and a half.
pub const OFFLINE_AFTER: Duration = Duration::from_secs(75);
/// The time between two sweeps.
pub const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// The least time between two notes in a summary of when its device was seen.
pub const NOTE_EVERY: Duration = Duration::from_secs(300);
/// Notes are spread over this much more, so that devices that came together are not noted together for ever.
const NOTE_SPREAD_SECONDS: u128 = 60;
/// When more time lies between two sweeps, nobody listened in between: the server slept, or its clock was set.
const NOBODY_LISTENED: Duration = Duration::from_secs(30);

/// Whether a device is offline that was heard of at `seen_at`, when the server has listened since `listening_since`: what
/// could not be heard is not held against the device.
pub(super) fn is_overdue(seen_at: Timestamp, listening_since: Timestamp, now: Timestamp) -> bool {
    now.since(seen_at.max(listening_since)) > OFFLINE_AFTER
}

/// Since when the server has listened without a gap, judged at a sweep.
pub(super) fn listening_since(before: Timestamp, last_sweep: Timestamp, now: Timestamp) -> Timestamp {
    if now < last_sweep || now.since(last_sweep) > NOBODY_LISTENED {
        now
    } else {
        before
    }
}

/// Whether the summary should note again when the device was seen.
pub(super) fn is_note_due(device: DeviceId, noted_at: Option<Timestamp>, seen_at: Timestamp) -> bool {
    let spread = Duration::from_secs((device.uuid().as_u128() % NOTE_SPREAD_SECONDS) as u64);
    noted_at.is_none_or(|noted_at| seen_at.since(noted_at) >= NOTE_EVERY + spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[track_caller]
    fn check(seen_at: i64, listening_since: i64, now: i64, expected: bool) {
        assert_eq!(is_overdue(at(seen_at), at(listening_since), at(now)), expected);
    }

    #[test]
    fn a_device_is_overdue_after_two_beats_and_a_half() {
        check(1_000, 0, 1_075, false);
        check(1_000, 0, 1_076, true);
        check(1_000, 0, 900, false);
    }

    #[test]
    fn what_the_server_could_not_hear_is_not_held_against_the_device() {
        check(1_000, 5_000, 5_075, false);
        check(1_000, 5_000, 5_076, true);
    }

    #[test]
    fn a_gap_between_sweeps_or_a_clock_set_back_begins_anew() {
        assert_eq!(listening_since(at(1), at(100), at(105)), at(1));
        assert_eq!(listening_since(at(1), at(100), at(130)), at(1));
        assert_eq!(listening_since(at(1), at(100), at(131)), at(131));
        assert_eq!(listening_since(at(1), at(100), at(99)), at(99));
    }
}
