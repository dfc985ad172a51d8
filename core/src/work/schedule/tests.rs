//! When schedules fire: on plain days, over changes of the clock, and against an oracle that looks at every minute.

use std::collections::BTreeSet;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::kernel::Timestamp;

/// Twenty zones in which clocks change in every way there is: by an hour, by half of one, by two; at midnight, and not at all;
/// backwards in summer; for a month of fasting.
const ZONES: [&str; 20] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "Europe/Chisinau",
    "Atlantic/Azores",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Havana",
    "America/Nuuk",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Antarctica/Troll",
];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(cron: &str, zone: &str) -> Schedule {
    Schedule::Cron {
        cron: cron.into(),
        zone: zone.into(),
    }
}

/// What fires after a time, as `DDTHH:MM` in UTC.
#[track_caller]
fn check(expression: &str, zone: &str, after: &str, expected: &[&str]) {
    let got = upcoming(&cron(expression, zone), at(after), expected.len());
    let got: Vec<_> = got.iter().map(|at| at.to_string()[8..16].to_owned()).collect();
    assert_eq!(got, expected, "{expression} {zone}");
}

#[test]
fn a_schedule_fires_at_its_minute_and_strictly_later() {
    check(
        "0 3 * * *",
        "UTC",
        "2026-11-22T02:59:59.999999Z",
        &["22T03:00", "23T03:00"],
    );
    check("0 3 * * *", "UTC", "2026-11-22T03:00:00Z", &["23T03:00"]);
    check(
        "*/20 8,9 * * *",
        "UTC",
        "2026-11-22T08:30:00Z",
        &["22T08:40", "22T09:00", "22T09:20", "22T09:40", "23T08:00"],
    );
    let once = Schedule::Once {
        at: at("2026-11-22T03:00:00.5Z"),
    };
    assert_eq!(
        upcoming(&once, at("2026-11-22T03:00:00Z"), 5),
        [at("2026-11-22T03:00:00.5Z")]
    );
    assert_eq!(next_after(&once, at("2026-11-22T03:00:00.5Z")), None);
}

#[test]
fn days_are_named_by_date_by_weekday_or_by_both() {
    let from = "2027-02-01T00:00:00Z";
    check("0 4 29 * *", "UTC", from, &["29T04:00", "29T04:00"]);
    check("0 4 l * *", "UTC", from, &["28T04:00", "31T04:00", "30T04:00"]);
    check("0 4 * * tue#2", "UTC", from, &["09T04:00", "09T04:00", "13T04:00"]);
    check("0 4 * * 5L", "UTC", from, &["26T04:00", "26T04:00", "30T04:00"]);
    check("0 4 * * 7", "UTC", from, &["07T04:00", "14T04:00"]);
    // Both named: either will do. One begins with *: both must fit.
    check(
        "0 4 13 * fri",
        "UTC",
        "2027-08-01T00:00:00Z",
        &["06T04:00", "13T04:00", "20T04:00"],
    );
    check("0 4 */10 * mon", "UTC", from, &["01T04:00", "01T04:00", "31T04:00"]);
    check("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", &["29T00:00"]);
    let leap = upcoming(&cron("0 0 29 2 *", "UTC"), at("2096-03-01T00:00:00Z"), 1);
    assert_eq!(leap, [at("2104-02-29T00:00:00Z")]);
}

#[test]
fn a_time_that_the_clock_skips_fires_once_at_the_first_instant_after_the_gap() {
    // 28 March 2027 in Berlin: 02:00 becomes 03:00, at 01:00 UTC.
    check(
        "30 2 * * *",
        "Europe/Berlin",
        "2027-03-27T02:00:00Z",
        &["28T01:00", "29T00:30"],
    );
    check(
        "0,20,40 2 * * *",
        "Europe/Berlin",
        "2027-03-28T00:00:00Z",
        &["28T01:00", "29T00:00"],
    );
    check(
        "30 2,3 * * *",
        "Europe/Berlin",
        "2027-03-28T00:00:00Z",
        &["28T01:00", "28T01:30", "29T00:30"],
    );
    check(
        "0 2,3 * * *",
        "Europe/Berlin",
        "2027-03-28T00:00:00Z",
        &["28T01:00", "29T00:00"],
    );
    // Midnight itself is skipped in Beirut, half an hour on Lord Howe, a whole day in Apia.
    check(
        "0 0 * * *",
        "Asia/Beirut",
        "2027-03-27T12:00:00Z",
        &["27T22:00", "28T21:00"],
    );
    check(
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2027-10-02T00:00:00Z",
        &["02T15:30", "03T15:15"],
    );
    check(
        "0 12 30 12 *",
        "Pacific/Apia",
        "2011-12-01T00:00:00Z",
        &["30T10:00", "29T22:00"],
    );
}

#[test]
fn a_time_that_comes_twice_fires_the_first_time_only() {
    // 31 October 2027 in Berlin: 03:00 becomes 02:00, at 01:00 UTC.
    check(
        "30 2 * * *",
        "Europe/Berlin",
        "2027-10-30T12:00:00Z",
        &["31T00:30", "01T01:30"],
    );
    check("30 2 * * *", "Europe/Berlin", "2027-10-31T00:45:00Z", &["01T01:30"]);
    check("30 2 * * *", "Europe/Berlin", "2027-10-31T01:10:00Z", &["01T01:30"]);
    check(
        "*/30 2,3 * * *",
        "Europe/Berlin",
        "2027-10-30T12:00:00Z",
        &["31T00:00", "31T00:30", "31T02:00", "31T02:30"],
    );
}

#[test]
fn an_interval_follows_elapsed_time() {
    check(
        "*/30 * * * *",
        "Europe/Berlin",
        "2027-10-31T00:00:00Z",
        &["31T00:30", "31T01:00", "31T01:30", "31T02:00"],
    );
    check(
        "30 * * * *",
        "Europe/Berlin",
        "2027-10-30T23:45:00Z",
        &["31T00:30", "31T01:30", "31T02:30"],
    );
    check(
        "30 * * * *",
        "Europe/Berlin",
        "2027-03-27T23:45:00Z",
        &["28T00:30", "28T01:30", "28T02:30"],
    );
    check(
        "*/15 * * * *",
        "Europe/Berlin",
        "2027-03-28T00:40:00Z",
        &["28T00:45", "28T01:00", "28T01:15"],
    );
}

/// Looks at every minute between two times, and fires by what the clock on the wall shows and has shown.
fn oracle(expression: &str, zone: &TimeZone, from: i64, to: i64) -> Vec<i64> {
    let cron = Cron::parse(expression).unwrap();
    let wall = |second: i64| {
        let at = jiff::Timestamp::from_second(second).unwrap();
        let offset = zone.to_offset(at);
        (second + i64::from(offset.seconds())).div_euclid(60)
    };
    let matches = |wall: i64| {
        let at = jiff::Timestamp::from_second(wall * 60).unwrap();
        let civil = jiff::tz::Offset::UTC.to_datetime(at);
        cron.minutes & (1 << civil.minute()) != 0
            && cron.hours & (1 << civil.hour()) != 0
            && cron.months & (1 << civil.month()) != 0
            && cron.has_day(civil.date())
    };
    // Earlier by more than any clock here is set back, so that what was shown before is known.
    let mut second = from - 4 * 3_600;
    let mut shown = wall(second);
    let mut fired = Vec::new();
    while second < to {
        second += 60;
        let now = wall(second);
        let fires = if cron.is_interval() {
            matches(now)
        } else {
            // Every minute of the wall that is new: more than one after a gap, none while an hour is repeated.
            (shown + 1..=now).any(matches)
        };
        shown = shown.max(now);
        if fires && second > from {
            fired.push(second);
        }
    }
    fired
}

fn by_timetable(expression: &str, zone: &str, from: i64, to: i64) -> Vec<i64> {
    let timetable = Timetable::new(&cron(expression, zone));
    let mut at = Timestamp::from_seconds(from);
    let mut fired = Vec::new();
    while let Some(next) = timetable.next_after(at).filter(|next| next.as_seconds() <= to) {
        assert!(next > at, "{expression} {zone} goes back");
        fired.push(next.as_seconds());
        at = next;
    }
    fired
}

/// The changes of a zone's clock in some years, and one plain day.
fn changes(zone: &TimeZone, from: &str, to: &str) -> Vec<i64> {
    let (from, to) = (
        from.parse::<jiff::Timestamp>().unwrap(),
        to.parse::<jiff::Timestamp>().unwrap(),
    );
    let following = zone.following(from).map(|change| change.timestamp());
    let changes = following.take_while(|at| *at < to).map(|at| at.as_second());
    changes.chain([from.as_second()]).collect()
}

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

#[test]
fn nothing_is_skipped_and_nothing_fires_twice_around_any_change_of_twenty_clocks() {
    const EXPRESSIONS: [&str; 9] = [
        "* * * * *",
        "*/15 * * * *",
        "30 * * * *",
        "30 2 * * *",
        "0 0 * * *",
        "*/7 0-3 * * *",
        "15,45 */2 * * sun",
        "5 1,2,3,23 L * fri#2",
        "59 23 * 3,10 *",
    ];
    let mut seen = BTreeSet::new();
    for name in ZONES {
        let zone = zone(name);
        for change in changes(&zone, "2026-01-01T00:00:00Z", "2030-01-01T00:00:00Z") {
            seen.insert((name, change));
            for expression in EXPRESSIONS {
                let (from, to) = (change - 10 * 3_600, change + 10 * 3_600);
                let expected = oracle(expression, &zone, from, to);
                let got = by_timetable(expression, name, from, to);
                assert_eq!(got, expected, "{expression} {name} around {change}");
            }
        }
    }
    assert!(seen.len() > 100, "only {} changes were seen", seen.len());
}

fn field(least: u32, most: u32) -> impl Strategy<Value = String> {
    let value = least..=most;
    prop_oneof![
        3 => Just("*".to_owned()),
        3 => value.clone().prop_map(|value| value.to_string()),
        1 => (2..=most).prop_map(|step| format!("*/{step}")),
        2 => (value.clone(), value.clone()).prop_map(|(one, other)| format!("{}-{}", one.min(other), one.max(other))),
        1 => (value.clone(), value).prop_map(|(one, other)| format!("{one},{other}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_schedule_agrees_with_looking_at_every_minute(
        minute in field(0, 59), hour in field(0, 23), day in field(1, 31), weekday in field(0, 7),
        name in proptest::sample::select(&ZONES[..]), which in any::<proptest::sample::Index>(), shift in -40_000_i64..40_000,
    ) {
        let expression = format!("{minute} {hour} {day} * {weekday}");
        let zone = zone(name);
        let changes = changes(&zone, "2015-01-01T00:00:00Z", "2040-01-01T00:00:00Z");
        let middle = changes[which.index(changes.len())] + shift;
        let (from, to) = (middle - 2 * 86_400, middle + 2 * 86_400);
        // The oracle looks at whole minutes.
        let (from, to) = (from - from.rem_euclid(60), to - to.rem_euclid(60));
        prop_assert_eq!(by_timetable(&expression, name, from, to), oracle(&expression, &zone, from, to), "{} {}", expression, name);
        // The last one before a time is the one after which none comes.
        let (start, end) = (Timestamp::from_seconds(from), Timestamp::from_seconds(to));
        let latest = Timetable::new(&cron(&expression, name)).latest(start, end);
        prop_assert_eq!(latest.map(Timestamp::as_seconds), oracle(&expression, &zone, from, to).last().copied());
    }

    #[test]
    fn foreign_expressions_are_read_or_refused_without_a_panic(text in ".{0,40}", numbers in "[-0-9*,/#lL?a-z ]{0,40}") {
        for text in [text, numbers] {
            if let Ok(cron) = Cron::parse(&text) {
                cron.ever_fires();
            }
        }
    }
}

#[track_caller]
fn refused(new: &NewSchedule, code: crate::kernel::Code, pointer: &str) {
    let error = new.check("/schedule", at("2026-11-22T03:00:00Z")).unwrap_err();
    assert_eq!((error.code(), &*error.fields()[0].pointer), (code, pointer), "{new:?}");
}

#[test]
fn a_schedule_that_cannot_be_is_refused_at_the_door() {
    let new = |cron: &str, zone: &str| NewSchedule::Cron {
        cron: cron.into(),
        zone: zone.into(),
    };
    for bad in [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "*/60 * * * *",
        "5-1 * * * *",
        "a * * * *",
        "+5 * * * *",
        "005 * * * *",
        "1, * * * *",
        "1-2-3 * * * *",
        "* * * * fri#6",
        "* * * * L",
        "* * * * #1",
        "@reboot",
        "TZ=UTC * * * * *",
        "ä * * * *",
        &"*".repeat(9_999),
    ] {
        refused(&new(bad, "UTC"), SCHEDULE_CRON_INVALID, "/schedule/cron");
    }
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2 *"] {
        refused(&new(never, "UTC"), SCHEDULE_NEVER, "/schedule/cron");
    }
    refused(
        &new("0 3 * * *", "Europe/Berlim"),
        SCHEDULE_ZONE_UNKNOWN,
        "/schedule/zone",
    );
    let past = NewSchedule::Once {
        at: at("2026-11-22T03:00:00Z"),
    };
    refused(&past, SCHEDULE_NEVER, "/schedule/at");
    let fits = new(" 0  3\t* * FRI-sun ", "asia/tokyo")
        .check("", at("2026-11-22T03:00:00Z"))
        .unwrap();
    assert_eq!(fits, cron("0 3 * * FRI-sun", "Asia/Tokyo"));
    // A weekday on 29 February comes within forty years, over the year 2100 too.
    assert!(new("0 0 29 2 */7", "UTC").check("", at("2026-11-22T03:00:00Z")).is_ok());
}

#[test]
fn what_a_later_version_stored_never_fires_and_no_time_is_too_far() {
    assert_eq!(next_after(&cron("0 0 3W * *", "UTC"), Timestamp::EPOCH), None);
    assert_eq!(
        next_after(&cron("0 0 * * *", "Mars/Olympus"), Timestamp::EPOCH),
        Some(at("1970-01-02T00:00:00Z"))
    );
    for end in [Timestamp::MIN, Timestamp::MAX] {
        for expression in ["0 0 * * *", "0 * * * *"] {
            for zone in ["Pacific/Kiritimati", "Pacific/Niue"] {
                let next = next_after(&cron(expression, zone), end);
                assert!(next.is_none_or(|next| next > end));
            }
        }
    }
}

#[track_caller]
fn due(missed: MissedRuns, last: &str, now: &str, run: Option<&str>, count: u32) -> Turn {
    let day = |text: &str| at(&format!("2026-11-{text}:00Z"));
    let got = turn(&Timetable::new(&cron("0 3 * * *", "UTC")), missed, day(last), day(now));
    assert_eq!((got.run, got.missed), (run.map(day), count), "{last} {now}");
    got
}

#[test]
fn missed_runs_are_skipped_or_made_up_for_once() {
    let skip = MissedRuns::Skip;
    let within = |within_seconds| MissedRuns::RunOnce { within_seconds };
    let nothing = due(skip, "20T03:00", "21T02:59", None, 0);
    assert_eq!(
        (nothing.settled, nothing.next),
        (None, Some(at("2026-11-21T03:00:00Z")))
    );
    let met = due(skip, "20T03:00", "21T03:00", Some("21T03:00"), 0);
    assert_eq!(met.settled, Some(at("2026-11-21T03:00:00Z")));
    assert_eq!(met.next, Some(at("2026-11-22T03:00:00Z")));
    due(skip, "20T03:00", "21T03:05", Some("21T03:00"), 0);
    let late = due(skip, "20T03:00", "21T03:06", None, 1);
    assert_eq!(late.settled, Some(at("2026-11-21T03:00:00Z")));
    due(skip, "20T03:00", "24T03:01", Some("24T03:00"), 3);
    due(skip, "20T03:00", "24T04:00", None, 4);
    due(within(7_200), "20T03:00", "24T05:00", Some("24T03:00"), 3);
    due(within(7_200), "20T03:00", "24T05:01", None, 4);
    // What is settled is not due again.
    due(within(7_200), "24T03:00", "24T05:00", None, 0);
    // A clock that was set back owes nothing.
    due(within(7_200), "24T03:00", "23T05:00", None, 0);
    let minutes = Timetable::new(&cron("* * * * *", "UTC"));
    let long = turn(
        &minutes,
        within(60),
        at("2020-01-01T00:00:00Z"),
        at("2026-11-22T03:00:30Z"),
    );
    assert_eq!((long.run, long.missed), (Some(at("2026-11-22T03:00:00Z")), 1_000));
    let asked = |within_seconds| NewMissedRuns::RunOnce { within_seconds }.check("/missed");
    assert_eq!(asked(MAX_LATE_SECONDS).unwrap(), within(MAX_LATE_SECONDS));
    assert_eq!(NewMissedRuns::Skip.check("/missed").unwrap(), skip);
    for bad in [0, MAX_LATE_SECONDS + 1] {
        let error = asked(bad).unwrap_err();
        assert_eq!(error.fields()[0].pointer, "/missed/within_seconds");
    }
}

#[test]
fn jitter_is_the_same_for_the_same_ids_and_spread_over_its_range() {
    let plan = Uuid::from_u128(7);
    let of = |device: u128, most| jitter(&[plan, Uuid::from_u128(device)], most).as_secs();
    assert_eq!(of(1, 600), of(1, 600));
    assert_eq!(of(1, 0), 0);
    assert!((0..1_000).all(|device| of(device, 9) <= 9));
    // A tenth of them each, give or take.
    let mut counts = [0_u32; 10];
    for device in 0..10_000 {
        counts[usize::try_from(of(device, 9)).unwrap()] += 1;
    }
    assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    assert!(of(1, u32::MAX) <= u64::from(MAX_JITTER_SECONDS));
}

#[test]
fn a_preview_tells_the_schedule_in_words_and_its_next_times() {
    let request = |count| PreviewRequest {
        schedule: NewSchedule::Cron {
            cron: "0 3 * * sun".into(),
            zone: "europe/berlin".into(),
        },
        from: None,
        count,
    };
    let now = at("2026-11-22T12:00:00Z");
    let got = preview(&request(Some(2)), now).unwrap();
    assert_eq!(got.description, "every Sunday at 03:00 Europe/Berlin");
    assert_eq!(got.times, [at("2026-11-29T02:00:00Z"), at("2026-12-06T02:00:00Z")]);
    assert_eq!(preview(&request(None), now).unwrap().times.len(), 10);
    for bad in [0, 101] {
        assert_eq!(
            preview(&request(Some(bad)), now).unwrap_err().fields()[0].pointer,
            "/count"
        );
    }
}
