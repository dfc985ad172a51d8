//! What follows for a rollout from how it stands, and who is in which wave.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    FailureLimit, NewRollout, Phase, Rollout, RolloutPolicy, RolloutWave, Wave,
    rules::{Next, Standing, WaveStanding, divide},
};
use crate::{
    devices::{DeviceGroupId, DeviceId},
    kernel::{EntityId as _, SeededRandom, Timestamp},
    work::BatchId,
};

const NOW: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(NOW + seconds)
}

/// Three waves of 2, 10 and 20 devices; the second is under way, and the first two devices succeeded.
fn rollout() -> Rollout {
    let wave = |devices| RolloutWave { devices, chosen: None };
    Rollout {
        id: BatchId::new(at(0), &SeededRandom::new(1)),
        operation: "shell".into(),
        policy: RolloutPolicy::default(),
        waves: vec![wave(2), wave(10), wave(20)],
        wave: 1,
        wave_began_at: at(0),
        phase: Phase::Rolling,
        paused_by: None,
        admitted: 2,
        held: Vec::new(),
        held_until: None,
        failed_before: 0,
        unwell: 0,
        forgiven: 0,
        excused: false,
        holds_back: false,
        takes_back: false,
        created_at: at(0),
    }
}

fn watched(since: i64, until: i64) -> Phase {
    Phase::Watching {
        since: at(since),
        until: at(until),
    }
}

fn pending(until: i64, approval: bool) -> Phase {
    Phase::Pending {
        until: at(until),
        approval,
    }
}

/// What is known: open, ended and failed runs of all; succeeded, cancelled and unwell ones of the wave.
#[derive(Clone, Copy, Default)]
struct Known {
    open: u32,
    ended: u32,
    failed: u32,
    offline: u32,
    wave: Option<(u32, u32, u32)>,
}

struct Row {
    name: &'static str,
    rollout: Rollout,
    known: Known,
    expected: &'static str,
}

type Decides<'a> = dyn Fn(&Rollout, Standing, Option<WaveStanding>) -> Next + 'a;

fn decided(row: &Row, decides: &Decides<'_>) -> String {
    let Known {
        open,
        ended,
        failed,
        offline,
        wave,
    } = row.known;
    let all = Standing {
        open,
        offline,
        ended,
        failed,
    };
    let wave = wave.map(|(succeeded, cancelled, unwell)| WaveStanding {
        ended: ended - 2,
        succeeded,
        cancelled,
        passed_over: offline,
        unwell,
    });
    match decides(&row.rollout, all, wave) {
        Next::Admit(room) if room == u32::MAX => "admit all".to_owned(),
        Next::Admit(room) => format!("admit {room}"),
        Next::Stay => "stay".to_owned(),
        Next::Halt(halt) => format!("halt {halt:?}").to_lowercase(),
        Next::Enter(Phase::Watching { since, until }) => {
            format!(
                "watch from {} for {}",
                since.as_seconds() - NOW,
                until.since(since).as_secs()
            )
        }
        Next::Enter(phase) => phase.name().to_owned(),
        Next::Proceed => "next".to_owned(),
    }
}

#[rustfmt::skip]
fn table() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name, change: &dyn Fn(&mut Rollout), known: Known, expected| {
        let mut rollout = rollout();
        change(&mut rollout);
        rows.push(Row { name, rollout, known, expected });
    };
    let known = |open, ended, failed| Known { open, ended, failed, ..Known::default() };
    let over = |failed, wave| Known { ended: 12, failed, wave: Some(wave), ..Known::default() };
    let count = |failures| Some(FailureLimit::Count { failures });
    let percent = |percent| Some(FailureLimit::Percent { percent });

    row("begins in time", &|it| it.phase = pending(0, false), known(0, 0, 0), "rolling");
    row("not before", &|it| it.phase = pending(1, false), known(0, 0, 0), "stay");
    row("nobody agreed yet", &|it| it.phase = pending(0, true), known(0, 31, 0), "stay");
    row("nobody agreed in time", &|it| it.phase = pending(0, true), known(0, 32, 32), "aborted");

    row("all at once", &|_| {}, known(0, 2, 0), "admit all");
    row("as many as may", &|it| it.policy.max_parallel = Some(4), known(1, 2, 0), "admit 3");
    row("no more", &|it| it.policy.max_parallel = Some(4), known(4, 2, 0), "stay");
    row("who is passed over takes no room", &|it| it.policy.max_parallel = Some(4),
        Known { offline: 3, ..known(4, 2, 0) }, "admit 3");
    row("all had their turn", &|it| it.admitted = 12, known(3, 9, 0), "stay");

    row("as many failures as are borne", &|it| it.policy.max_failures = count(2), known(0, 4, 2), "admit all");
    row("one more", &|it| it.policy.max_failures = count(2), known(0, 5, 3), "halt failures(3, count { failures: 2 })");
    row("forgiven ones", &|it| { it.policy.max_failures = count(2); it.forgiven = 1; }, known(0, 5, 3), "admit all");
    row("unwell ones count on", &|it| { it.policy.max_failures = count(2); it.unwell = 2; }, known(0, 5, 1),
        "halt failures(3, count { failures: 2 })");
    row("20 % of 10", &|it| it.policy.max_failures = percent(20), known(0, 5, 2), "admit all");
    row("more than 20 % of 10", &|it| it.policy.max_failures = percent(20), known(0, 5, 3),
        "halt failures(3, percent { percent: 20 })");
    row("those of earlier waves are not of this one",
        &|it| { it.policy.max_failures = percent(20); it.failed_before = 2; }, known(0, 6, 4), "admit all");

    row("over, and the next begins", &|_| {}, over(0, (10, 0, 0)), "next");
    row("over but for who is passed over", &|_| {},
        Known { open: 3, offline: 3, ended: 9, failed: 0, wave: Some((7, 0, 0)) }, "next");
    row("over, and somebody has to say so", &|it| it.policy.by_hand = true, over(0, (10, 0, 0)), "waiting");
    row("over, and watched", &|it| { it.policy.watch_seconds = 60; it.policy.by_hand = true; }, over(0, (10, 0, 0)),
        "watch from 0 for 60");
    row("too many failed at the end", &|it| it.policy.max_failures = count(0), over(1, (9, 0, 0)),
        "halt failures(1, count { failures: 0 })");
    row("none succeeded", &|_| {}, over(9, (0, 1, 0)), "halt nosuccess");
    row("none succeeded, and somebody bears it", &|it| it.excused = true, over(9, (0, 1, 0)), "next");
    row("all were stopped", &|_| {}, over(0, (0, 10, 0)), "next");
    row("the last wave", &|it| { it.wave = 2; it.waves.truncate(3); it.waves[2].devices = 0;
        it.policy.watch_seconds = 60; it.policy.max_failures = count(0); }, over(3, (7, 0, 0)), "done");

    row("watched still", &|it| it.phase = watched(-60, 1), over(0, (10, 0, 0)), "stay");
    row("watched long enough", &|it| it.phase = watched(-60, 0), over(0, (10, 0, 0)), "next");
    row("watched, and somebody has to say so", &|it| { it.phase = watched(-60, 0); it.policy.by_hand = true; },
        over(0, (10, 0, 0)), "waiting");
    row("the clock was set back", &|it| { it.phase = watched(500, 560); it.policy.watch_seconds = 60; },
        over(0, (10, 0, 0)), "watch from 0 for 60");
    row("one is not well, and none may", &|it| it.phase = watched(-60, 0), over(0, (10, 0, 1)), "halt unwell(1)");
    row("one is not well, and one may", &|it| { it.phase = watched(-60, 0); it.policy.max_failures = count(1); },
        over(0, (10, 0, 1)), "next");
    row("one failed, and one is not well", &|it| { it.phase = watched(-60, 0); it.policy.max_failures = count(1); },
        over(1, (9, 0, 1)), "halt unwell(1)");
    row("judged only at the end", &|it| { it.phase = watched(-60, 1); it.policy.max_failures = count(0); },
        over(0, (10, 0, 1)), "stay");
    row("a result that came late", &|it| { it.phase = watched(-60, 1); it.policy.max_failures = count(0); },
        over(1, (9, 0, 0)), "halt failures(1, count { failures: 0 })");

    row("waits", &|it| it.phase = Phase::Waiting, over(0, (10, 0, 0)), "stay");
    row("halted", &|it| it.phase = Phase::Halted { reason: String::new(), watched: false }, over(0, (10, 0, 0)), "stay");
    row("done", &|it| it.phase = Phase::Done, over(0, (10, 0, 0)), "stay");
    row("given up", &|it| it.phase = Phase::Aborted, over(0, (10, 0, 0)), "stay");
    rows
}

#[test]
fn what_comes_next_follows_from_how_it_stands() {
    for row in table() {
        let found = decided(&row, &|rollout, all, wave| rollout.next(all, wave, at(0)));
        assert_eq!(found, row.expected, "{}", row.name);
    }
}

/// What a mistake alters before it is decided what comes next.
type Mistake = fn(&mut Rollout, &mut Standing, &mut Option<WaveStanding>, &mut Timestamp);

#[test]
fn the_table_catches_planted_mistakes() {
    let planted = |change: Mistake| {
        table().iter().any(|row| {
            let found = decided(row, &|rollout, all, wave| {
                let (mut rollout, mut all, mut wave, mut now) = (rollout.clone(), all, wave, at(0));
                change(&mut rollout, &mut all, &mut wave, &mut now);
                rollout.next(all, wave, now)
            });
            found != row.expected
        })
    };
    assert!(!planted(|_, _, _, _| {}), "without a mistake nothing is caught");
    let mistakes: [(&str, Mistake); 15] = [
        ("no limit", |it, _, _, _| it.policy.max_failures = None),
        ("a limit where there is none", |it, _, _, _| {
            it.policy
                .max_failures
                .get_or_insert(FailureLimit::Count { failures: 0 });
        }),
        ("nothing is forgiven", |it, _, _, _| it.forgiven = 0),
        ("earlier waves count", |it, _, _, _| it.failed_before = 0),
        ("unwell devices are forgotten", |it, _, _, _| it.unwell = 0),
        ("any number at once", |it, _, _, _| it.policy.max_parallel = None),
        ("who is offline takes room", |_, all, _, _| all.offline = 0),
        ("nothing is watched", |it, _, _, _| it.policy.watch_seconds = 0),
        ("nobody has to say so", |it, _, _, _| it.policy.by_hand = false),
        ("nothing is excused", |it, _, _, _| it.excused = false),
        ("nobody is not well", |_, _, wave, _| {
            wave.iter_mut().for_each(|wave| wave.unwell = 0)
        }),
        ("stopped ones are failures", |_, _, wave, _| {
            wave.iter_mut().for_each(|wave| wave.cancelled = 0)
        }),
        ("over too early", |_, _, wave, _| {
            *wave = Some(WaveStanding {
                ended: 10,
                succeeded: 1,
                ..WaveStanding::default()
            })
        }),
        ("a second too early", |_, _, _, now| *now = at(1)),
        ("a second too late", |_, _, _, now| *now = at(-1)),
    ];
    for (name, mistake) in mistakes {
        assert!(planted(mistake), "{name} is not caught");
    }
}

#[test]
fn letting_go_on_forgives_what_failed() {
    let all = Standing {
        ended: 5,
        failed: 3,
        ..Standing::default()
    };
    let mut it = rollout();
    it.policy.max_failures = Some(FailureLimit::Count { failures: 2 });
    let halted = |watched| Phase::Halted {
        reason: "why".into(),
        watched,
    };
    it.phase = halted(false);
    it.resume(all, at(1));
    assert_eq!(
        (&it.phase, it.wave, it.forgiven, it.excused),
        (&Phase::Rolling, 1, 3, true)
    );
    // After the time in which they were watched there is nothing to go on with but the next wave.
    it.phase = halted(true);
    it.unwell = 4;
    it.resume(all, at(2));
    assert_eq!(
        (&it.phase, it.wave, it.forgiven, it.excused),
        (&Phase::Rolling, 2, 7, false)
    );
    assert_eq!((it.failed_before, it.wave_began_at), (3, at(2)));
    it.phase = Phase::Waiting;
    it.resume(all, at(3));
    assert_eq!(it.phase, Phase::Done, "there is no other wave");
}

/// Devices by number: 0 to 99 are those in the order in which they come, and every tenth is in group 0, every fifth in group 1.
#[track_caller]
fn check_divided(waves: &[Wave], count: usize, expected: &[(u32, Option<usize>)], first: &[usize]) {
    let random = SeededRandom::new(1);
    let devices: Vec<_> = (0..count).map(|_| DeviceId::new(at(0), &random)).collect();
    let by_group = |n: usize| -> BTreeSet<DeviceGroupId> {
        [(10, 0), (5, 1)]
            .into_iter()
            .filter(|(each, _)| n.is_multiple_of(*each))
            .map(|(_, group)| group_id(group))
            .collect()
    };
    let groups: BTreeMap<_, _> = devices.iter().enumerate().map(|(n, id)| (*id, by_group(n))).collect();
    let policy = RolloutPolicy {
        waves: waves.to_vec(),
        ..RolloutPolicy::default()
    };
    let (order, divided) = divide(&policy, &devices, &groups);
    let found: Vec<_> = divided
        .iter()
        .map(|wave| {
            let chosen = wave.chosen.as_ref();
            (
                wave.devices,
                chosen.and_then(|chosen| waves.iter().position(|wave| wave == chosen)),
            )
        })
        .collect();
    assert_eq!(found, expected);
    let place = |device: &DeviceId| devices.iter().position(|other| other == device).unwrap();
    let places: Vec<_> = order.iter().map(place).collect();
    assert_eq!(places[..first.len()], *first);
    let all: BTreeSet<_> = places.iter().copied().collect();
    assert_eq!((all.len(), places.len()), (count, count), "each is in one wave");
}

fn group_id(n: u128) -> DeviceGroupId {
    DeviceGroupId::from_uuid(uuid::Uuid::from_u128(n + 1))
}

#[test]
fn each_device_is_in_the_first_wave_that_means_it() {
    let groups = |numbers: &[u128]| Wave::Groups {
        groups: numbers.iter().map(|n| group_id(*n)).collect(),
    };
    let (one, tenth) = (Wave::Count { devices: 1 }, Wave::Percent { percent: 10 });
    check_divided(&[], 3, &[(3, None)], &[0, 1, 2]);
    check_divided(
        &[one.clone(), tenth.clone()],
        100,
        &[(1, Some(0)), (10, Some(1)), (89, None)],
        &[0, 1, 2],
    );
    // A share of all, at least one, and no more than are left.
    check_divided(
        &[tenth.clone(), Wave::Percent { percent: 95 }],
        3,
        &[(1, Some(0)), (2, Some(1))],
        &[0, 1, 2],
    );
    check_divided(
        &[groups(&[0]), groups(&[1]), one],
        20,
        &[(2, Some(0)), (2, Some(1)), (1, Some(2)), (15, None)],
        &[0, 10, 5, 15, 1],
    );
    check_divided(
        &[groups(&[0, 1]), groups(&[1])],
        20,
        &[(4, Some(0)), (16, None)],
        &[0, 5, 10, 15, 1],
    );
    // A wave without devices is none.
    check_divided(&[groups(&[7]), tenth], 10, &[(1, Some(1)), (9, None)], &[0, 1]);
}

#[test]
fn what_is_asked_is_checked_and_named() {
    let waves =
        |count: usize| serde_json::json!({"waves": vec![serde_json::json!({"type": "count", "devices": 1}); count]});
    for (asked, field) in [
        (waves(20), None),
        (waves(21), Some("/rollout/waves")),
        (
            serde_json::json!({"waves": [{"type": "percent", "percent": 100}, {"type": "percent", "percent": 101}]}),
            Some("/rollout/waves/1/percent"),
        ),
        (
            serde_json::json!({"waves": [{"type": "percent", "percent": 0}]}),
            Some("/rollout/waves/0/percent"),
        ),
        (
            serde_json::json!({"waves": [{"type": "count", "devices": 0}]}),
            Some("/rollout/waves/0/devices"),
        ),
        (
            serde_json::json!({"waves": [{"type": "groups", "groups": []}]}),
            Some("/rollout/waves/0/groups"),
        ),
        (serde_json::json!({"max_parallel": 0}), Some("/rollout/max_parallel")),
        (
            serde_json::json!({"max_failures": {"type": "percent", "percent": 101}}),
            Some("/rollout/max_failures/percent"),
        ),
        (
            serde_json::json!({"max_failures": {"type": "count", "failures": 0}}),
            None,
        ),
        (serde_json::json!({"watch_seconds": 604_800}), None),
        (
            serde_json::json!({"watch_seconds": 604_801}),
            Some("/rollout/watch_seconds"),
        ),
    ] {
        let new: NewRollout = serde_json::from_value(asked.clone()).unwrap();
        let checked = new.check("/rollout");
        let found = checked.as_ref().err().map(|error| error.fields()[0].pointer.clone());
        assert_eq!(found.as_deref(), field, "{asked}");
        if let Ok(policy) = checked {
            assert_eq!(NewRollout::from(policy), new, "it is asked for again as it was");
        }
    }
}
