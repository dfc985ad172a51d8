//! What is decided, without a store.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::work::operations::{OperationKind, refresh, shell};

const DEVICE: u128 = 1;
const GROUP: u128 = 2;

fn device(n: u128) -> DeviceId {
    DeviceId::from_uuid(Uuid::from_u128(n))
}

fn group(n: u128) -> DeviceGroupId {
    DeviceGroupId::from_uuid(Uuid::from_u128(n))
}

/// A window of all devices; its name says which it is.
fn window(name: &str, kind: WindowKind, when: WindowTimes, outside: Outside) -> Window {
    Window {
        id: WindowId::from_uuid(Uuid::from_u128(
            name.bytes().fold(0, |sum, byte| sum * 256 + u128::from(byte)),
        )),
        name: name.into(),
        description: String::new(),
        enabled: true,
        kind,
        scope: WindowScope {
            all: true,
            ..WindowScope::default()
        },
        when,
        outside,
        operations: BTreeSet::new(),
        created_at: Timestamp::EPOCH,
        updated_at: Timestamp::EPOCH,
    }
}

/// Every day in UTC, from this hour on for so many.
fn daily(hour: u32, hours: u32) -> WindowTimes {
    WindowTimes::Recurring {
        cron: format!("0 {hour} * * *"),
        zone: "UTC".into(),
        duration_seconds: hours * 3_600,
    }
}

/// On one day of January 2027, between two hours.
fn on_day(from: &str, to: &str) -> WindowTimes {
    WindowTimes::Once {
        starts_at: day(from),
        ends_at: day(to),
    }
}

fn day(text: &str) -> Timestamp {
    at(&format!("2027-01-{text}:00Z"))
}

fn maintenance(name: &str, when: WindowTimes) -> Window {
    window(name, WindowKind::Maintenance, when, Outside::Gate)
}

fn blackout(name: &str, when: WindowTimes) -> Window {
    window(name, WindowKind::Blackout, when, Outside::Gate)
}

fn with(outside: Outside, window: Window) -> Window {
    Window { outside, ..window }
}

fn decide(windows: &[Window], operation: &OperationKind, now: Timestamp) -> WindowDecision {
    let groups = BTreeSet::from([group(GROUP)]);
    WindowSet::new(windows.iter().map(|window| (window.clone(), 1))).decide(&Question {
        device: device(DEVICE),
        groups: &groups,
        operation: operation.name,
        lane: operation.lane,
        at: now,
    })
}

/// What is decided of a shell run: how it stands (`open`, `open until T`, `closed until T` or `closed`), and who decided.
#[track_caller]
fn check(windows: &[Window], now: &str, standing: &str, handling: WindowHandling, decided: &[&str]) -> WindowDecision {
    let decision = decide(windows, &shell::KIND, day(now));
    let time = |at: Timestamp| at.to_string()[8..16].to_owned();
    let got = match decision.standing {
        WindowStanding::Open { until: None } => "open".into(),
        WindowStanding::Open { until: Some(until) } => format!("open until {}", time(until)),
        WindowStanding::Closed { until } => format!("closed until {}", time(until)),
        WindowStanding::ClosedForEver => "closed".into(),
    };
    assert_eq!(
        (got.as_str(), decision.handling),
        (standing, handling),
        "{}",
        decision.reason
    );
    let names: Vec<_> = decision.windows.iter().map(|window| window.name.as_str()).collect();
    assert_eq!(names, decided);
    decision
}

use WindowHandling::{Run, RunNoted, Wait};

fn give_up(give_up_after_seconds: u32) -> Outside {
    Outside::Postpone { give_up_after_seconds }
}

fn at_most(give_up_after_seconds: u32) -> WindowHandling {
    WindowHandling::WaitAtMost { give_up_after_seconds }
}

#[test]
fn where_no_window_is_work_may_begin() {
    check(&[], "15T08:00", "open", Run, &[]);
    let elsewhere = Window {
        scope: WindowScope {
            groups: [group(9)].into(),
            devices: [device(9)].into(),
            all: false,
        },
        ..maintenance("elsewhere", daily(3, 2))
    };
    check(&[elsewhere], "15T08:00", "open", Run, &[]);
    let disabled = Window {
        enabled: false,
        ..maintenance("off", daily(3, 2))
    };
    check(&[disabled], "15T08:00", "open", Run, &[]);
}

#[test]
fn a_window_concerns_devices_by_name_and_by_group() {
    for scope in [
        WindowScope {
            groups: [group(GROUP), group(9)].into(),
            ..WindowScope::default()
        },
        WindowScope {
            devices: [device(DEVICE)].into(),
            ..WindowScope::default()
        },
    ] {
        let window = Window {
            scope,
            ..maintenance("m", daily(3, 2))
        };
        check(&[window], "15T08:00", "closed until 16T03:00", Wait, &["m"]);
    }
}

#[test]
fn maintenance_is_open_from_its_start_and_closed_from_its_end() {
    let nights = [maintenance("nights", daily(3, 2))];
    check(&nights, "15T02:59", "closed until 15T03:00", Wait, &["nights"]);
    check(&nights, "15T03:00", "open until 15T05:00", Run, &["nights"]);
    check(&nights, "15T04:59", "open until 15T05:00", Run, &["nights"]);
    check(&nights, "15T05:00", "closed until 16T03:00", Wait, &["nights"]);
}

#[test]
fn maintenance_windows_add_up() {
    let both = [maintenance("early", daily(3, 2)), maintenance("later", daily(4, 3))];
    check(&both, "15T03:30", "open until 15T07:00", Run, &["early"]);
    check(&both, "15T04:30", "open until 15T07:00", Run, &["early", "later"]);
    check(&both, "15T07:00", "closed until 16T03:00", Wait, &["early", "later"]);
    // One that touches another goes on without a gap, for ever if it comes every hour.
    let hours = WindowTimes::Recurring {
        cron: "0 * * * *".into(),
        zone: "UTC".into(),
        duration_seconds: 3_600,
    };
    assert!(matches!(
        decide(&[maintenance("all", hours)], &shell::KIND, day("15T03:30")).standing,
        WindowStanding::Open { .. }
    ));
}

#[test]
fn blackouts_win() {
    let freeze = blackout("freeze", on_day("16T04:00", "18T04:00"));
    check(
        std::slice::from_ref(&freeze),
        "15T08:00",
        "open until 16T04:00",
        Run,
        &[],
    );
    check(
        std::slice::from_ref(&freeze),
        "16T04:00",
        "closed until 18T04:00",
        Wait,
        &["freeze"],
    );
    let both = [freeze, maintenance("nights", daily(3, 2))];
    check(&both, "16T03:30", "open until 16T04:00", Run, &["nights"]);
    check(&both, "16T04:30", "closed until 18T04:00", Wait, &["freeze"]);
    // Within the freeze and outside of the night: both are told, and the next moment that suits both.
    let decision = check(&both, "16T12:00", "closed until 18T04:00", Wait, &["freeze", "nights"]);
    assert_eq!(
        decision.reason,
        "blackout “freeze” lasts, and it is outside of maintenance window “nights”; it waits; open again at 2027-01-18 04:00 UTC"
    );
}

#[test]
fn what_does_not_open_within_a_year_is_closed_for_ever() {
    let over = [maintenance("move", on_day("14T00:00", "14T06:00"))];
    let decision = check(&over, "15T08:00", "closed", Wait, &["move"]);
    assert_eq!(
        decision.reason,
        "outside of maintenance window “move”; it waits; not open within 366 days"
    );
    let never_quiet = [maintenance("nights", daily(3, 2)), blackout("nights off", daily(3, 2))];
    // Night after night a blackout lies on it.
    check(&never_quiet, "15T08:00", "closed", Wait, &["nights"]);
    // Closed without a gap, longer than is looked through: closed at least until then.
    let always = WindowTimes::Recurring {
        cron: "0 * * * *".into(),
        zone: "UTC".into(),
        duration_seconds: 3_600,
    };
    let WindowStanding::Closed { until } =
        decide(&[blackout("always", always)], &shell::KIND, day("15T08:00")).standing
    else {
        panic!("closed, at least for a while");
    };
    assert!(until.since(day("15T08:00")) > Duration::from_secs(80 * 86_400));
}

#[test]
fn who_makes_work_wait_decides_over_who_does_not() {
    let nights = || maintenance("nights", daily(3, 2));
    let weekend = || maintenance("weekend", on_day("16T00:00", "18T00:00"));
    check(
        &[with(Outside::Allow, nights())],
        "15T08:00",
        "closed until 16T03:00",
        RunNoted,
        &["nights"],
    );
    check(
        &[with(give_up(60), nights())],
        "15T08:00",
        "closed until 16T03:00",
        at_most(60),
        &["nights"],
    );
    let two = [with(give_up(600), nights()), with(give_up(60), weekend())];
    check(
        &two,
        "15T08:00",
        "closed until 16T00:00",
        at_most(60),
        &["nights", "weekend"],
    );
    let mixed = [
        with(give_up(600), nights()),
        weekend(),
        with(Outside::Allow, blackout("b", on_day("15T00:00", "20T00:00"))),
    ];
    // The blackout does not hold anybody; the weekend is when it may begin.
    check(
        &mixed,
        "15T08:00",
        "closed until 16T00:00",
        at_most(600),
        &["b", "nights", "weekend"],
    );
    let held = check(&mixed, "16T08:00", "closed until 20T03:00", RunNoted, &["b"]);
    assert_eq!(
        held.reason,
        "blackout “b” lasts; it runs all the same; open again at 2027-01-20 03:00 UTC"
    );
}

#[test]
fn operations_decide_whom_a_window_concerns() {
    let named = |names: &[&str]| Window {
        operations: names.iter().map(|name| (*name).to_owned()).collect(),
        ..maintenance("m", daily(3, 2))
    };
    let now = day("15T08:00");
    let is_open =
        |window: &Window, kind: &OperationKind| decide(std::slice::from_ref(window), kind, now).handling == Run;
    assert!(is_open(&named(&[]), &refresh::KIND) && !is_open(&named(&[]), &shell::KIND));
    assert!(!is_open(&named(&["inventory.refresh"]), &refresh::KIND));
    assert!(is_open(&named(&["inventory.refresh"]), &shell::KIND));
}

#[test]
fn a_window_lasts_in_elapsed_time_over_changes_of_the_clock() {
    let berlin = |cron: &str, duration_seconds| WindowTimes::Recurring {
        cron: cron.into(),
        zone: "Europe/Berlin".into(),
        duration_seconds,
    };
    let until = |when: &WindowTimes, now: &str| match decide(&[maintenance("m", when.clone())], &shell::KIND, at(now))
        .standing
    {
        WindowStanding::Open { until: Some(until) } => format!("open until {}", &until.to_string()[8..16]),
        WindowStanding::Closed { until } => format!("closed until {}", &until.to_string()[8..16]),
        other => format!("{other:?}"),
    };
    // 28 March 2027: from 01:00 for three hours is until 05:00 on the wall. A start at 02:30 that there is not is at 03:00.
    assert_eq!(
        until(&berlin("0 1 * * *", 10_800), "2027-03-28T00:30:00Z"),
        "open until 28T03:00"
    );
    assert_eq!(
        until(&berlin("30 2 * * *", 3_600), "2027-03-28T00:45:00Z"),
        "closed until 28T01:00"
    );
    assert_eq!(
        until(&berlin("30 2 * * *", 3_600), "2027-03-28T01:00:00Z"),
        "open until 28T02:00"
    );
    // 31 October 2027: half past two comes twice, and the window opens once.
    assert_eq!(
        until(&berlin("30 2 * * *", 1_800), "2027-10-31T00:30:00Z"),
        "open until 31T01:00"
    );
    assert_eq!(
        until(&berlin("30 2 * * *", 1_800), "2027-10-31T01:30:00Z"),
        "closed until 01T01:30"
    );
    // Every hour for an hour leaves no gap in the hour that comes twice.
    let mut minute = at("2027-10-30T22:00:00Z");
    while minute < at("2027-10-31T04:00:00Z") {
        let decision = decide(&[maintenance("m", berlin("0 * * * *", 3_600))], &shell::KIND, minute);
        assert_eq!(decision.handling, Run, "{minute}");
        minute = minute.plus(Duration::from_secs(60));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_is_said_of_the_future_holds_when_it_comes(
        drafts in proptest::collection::vec((any::<bool>(), 0_u32..24, 1_u32..12, 0_u8..3), 0..5), minute in 0_u64..2_880,
    ) {
        let windows: Vec<_> = drafts
            .into_iter()
            .enumerate()
            .map(|(n, (is_blackout, hour, hours, outside))| {
                let kind = if is_blackout { WindowKind::Blackout } else { WindowKind::Maintenance };
                let outside = [Outside::Gate, Outside::Allow, give_up(60)][usize::from(outside)];
                window(&format!("w{n}"), kind, daily(hour, hours), outside)
            })
            .collect();
        let now = day("15T00:00").plus(Duration::from_secs(minute * 60));
        let at = |at| decide(&windows, &shell::KIND, at);
        let may_begin = |handling| matches!(handling, Run | RunNoted);
        let decision = at(now);
        // Windows begin and end on whole hours: looks at each of three days until what is said comes true.
        let end = now.plus(Duration::from_secs(3 * 86_400));
        let changes = |wanted: &dyn Fn(WindowHandling) -> bool| {
            let hours = (0..6 * 24).map(|hour| day("15T00:00").plus(Duration::from_secs(hour * 3_600)));
            let mut to_come = hours.filter(|hour| now < *hour && *hour < end);
            to_come.find(|hour| wanted(at(*hour).handling))
        };
        match (decision.standing, decision.handling) {
            (WindowStanding::Open { until }, handling) => {
                prop_assert_eq!(handling, Run);
                // Windows that follow one another without end are followed for so long only: it is open until then at least.
                prop_assert_eq!(until.filter(|until| *until < end), changes(&|handling| handling != Run));
            }
            (WindowStanding::Closed { until }, RunNoted) => prop_assert_eq!(Some(until), changes(&|handling| handling == Run)),
            (WindowStanding::Closed { until }, _) => prop_assert_eq!(Some(until), changes(&may_begin)),
            (WindowStanding::ClosedForEver, RunNoted) => prop_assert_eq!(None, changes(&|handling| handling == Run)),
            (WindowStanding::ClosedForEver, _) => prop_assert_eq!(None, changes(&may_begin)),
        }
    }
}
