//! What `work` stores.

use fleet_core::{
    access::Actor,
    protocol::OutputStream,
    work::{
        Approval, Batch, Plan, Priority, Run, State, StoredParams,
        approvals::{Decision, Verdict},
        batch::{AskedTargets, BatchTargets, Cause, PlannedTargets, RetryPolicy},
        output::Chunk,
        plans::{PlanOccasion, PlanOutcome, PlanProgress},
        promotions::{DryRunOutcome, Promotion, PromotionStanding, PromotionTerms},
        rollouts::{FailureLimit, Phase, Rollout, RolloutOrder, RolloutPolicy, RolloutWave, Wave},
        run::{Delivery, Ending, RunEvent, RunOrigin},
        schedule::{MissedRuns, Schedule},
        windows::{Outside, Window, WindowKind, WindowScope, WindowTimes},
    },
};
use serde_json::json;

use crate::{
    sample::{Sample, document, row, show},
    values::{at, id, user, uuid},
};

pub fn queued() -> Run {
    Run {
        id: id(20),
        batch: Some(id(21)),
        origin: None,
        device: id(10),
        device_name: "web-01".into(),
        operation: "shell".into(),
        params: StoredParams::without_secrets(json!({"script": "uname -a", "interpreter": "/bin/sh"})),
        state: State::Queued,
        priority: Priority::High,
        due_at: at(1),
        delivery: Delivery::default(),
        created_at: at(0),
        expires_at: at(3_600),
        timeout_seconds: 300,
        output_limit_bytes: 4 << 20,
        started_at: None,
        finished_at: None,
        cancel_requested_at: None,
        on_hold: false,
        ending: None,
    }
}

fn blackout() -> Window {
    Window {
        id: id(23),
        name: "Year's End".into(),
        description: "Nobody is here".into(),
        enabled: true,
        kind: WindowKind::Blackout,
        scope: WindowScope {
            all: true,
            ..WindowScope::default()
        },
        when: WindowTimes::Once {
            starts_at: at(3_600),
            ends_at: at(7_200),
        },
        outside: Outside::Gate,
        operations: Default::default(),
        created_at: at(0),
        updated_at: at(1),
    }
}

fn retry() -> RetryPolicy {
    RetryPolicy {
        attempts: 3,
        delay_seconds: 60,
        max_delay_seconds: 3_600,
        on: vec![State::Failed, State::Lost],
    }
}

fn policy() -> RolloutPolicy {
    RolloutPolicy {
        waves: vec![
            Wave::Count { devices: 1 },
            Wave::Percent { percent: 10 },
            Wave::Groups { groups: vec![id(30)] },
        ],
        max_parallel: Some(50),
        max_failures: Some(FailureLimit::Percent { percent: 5 }),
        watch_seconds: 600,
        by_hand: true,
        ignore_offline: true,
    }
}

fn rollout(of: u64, phase: Phase) -> Rollout {
    Rollout {
        id: id(of),
        operation: "shell".into(),
        policy: RolloutPolicy {
            max_failures: Some(FailureLimit::Count { failures: 3 }),
            ..RolloutPolicy::default()
        },
        waves: vec![RolloutWave {
            devices: 2,
            chosen: None,
        }],
        wave: 0,
        wave_began_at: at(0),
        phase,
        paused_by: None,
        admitted: 0,
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

fn outcome() -> DryRunOutcome {
    DryRunOutcome {
        would_change: 2,
        unchanged: 3,
        unknown: 4,
        not_concerned: 5,
        failed: 6,
    }
}

fn batch() -> Batch {
    Batch {
        id: id(21),
        cause: Cause::Schedule,
        plan: Some(id(22)),
        targets: AskedTargets {
            named: 1,
            groups: vec![id(30)],
            labels: vec!["env=prod".into()],
            query: Some("os equals debian".into()),
            all: false,
        },
        action: Some(id(40)),
        operation: "shell".into(),
        params: queued().params,
        timeout_seconds: 300,
        expiry_seconds: 3_600,
        expires_at: at(3_600),
        runs: 2,
        start_at: Some(at(60)),
        spread_seconds: 600,
        priority: Priority::High,
        ignores_windows: true,
        rolls_out: true,
        approval: Some(id(25)),
        approvals: 2,
        retry_of: Some(id(26)),
        attempt: 2,
        retry: Some(retry()),
        retrying_since: Some(at(0)),
        retry_at: Some(at(120)),
        retried_by: Some(id(27)),
        promotion: None,
        promoted_from: Some(id(28)),
        expanding_since: Some(at(0)),
        release_at: Some(at(60)),
        cancelled_at: Some(at(61)),
        cancelling_since: Some(at(61)),
        runs_digest: "e".repeat(64),
        request_digest: "f".repeat(64),
        created_by: user(),
        created_at: at(0),
    }
}

/// A batch whose dry run comes first.
fn looked(of: u64, standing: PromotionStanding) -> Batch {
    let asked = standing != PromotionStanding::Looking;
    Batch {
        id: id(of),
        promotion: Some(Promotion {
            standing,
            terms: PromotionTerms {
                start_at: asked.then(|| at(60)),
                ignores_windows: asked,
                approvals: 1,
                rollout: asked.then(policy),
                retry: asked.then(retry),
            },
            requested_by: user(),
            requester: asked.then(|| uuid(1)),
            outcome: asked.then(outcome),
            approval: asked.then(|| id(25)),
            expires_at: asked.then(|| at(86_400)),
            promoted_to: asked.then(|| id(21)),
        }),
        promoted_from: None,
        ..batch()
    }
}

fn progress(of: u64, outcome: Option<PlanOutcome>) -> PlanProgress {
    PlanProgress {
        id: id(of),
        settled_at: at(0),
        next_at: outcome.is_none().then(|| at(86_400)),
        last: outcome.map(|outcome| PlanOccasion {
            due_at: at(0),
            at: at(3),
            missed: 2,
            outcome,
        }),
    }
}

pub fn samples() -> Vec<Sample> {
    let delivery = Delivery {
        epoch: Some(7),
        attempts: 2,
        offered_at: Some(at(1)),
        receipt_at: Some(at(2)),
    };
    let event = |from, to, actor| RunEvent {
        run: id(20),
        device: id(10),
        batch: Some(id(21)),
        from,
        to,
        at: at(3),
        actor,
        reason: None,
    };
    vec![
        document(
            "of groups, every night",
            &Plan {
                id: id(22),
                name: "Nightly".into(),
                description: "While nobody works".into(),
                enabled: true,
                operation: "shell".into(),
                params: queued().params,
                targets: PlannedTargets {
                    groups: vec![id(30)],
                    labels: vec!["env=prod".into()],
                    query: Some("os equals debian".into()),
                    ..PlannedTargets::default()
                },
                timeout_seconds: Some(60),
                expires_in_seconds: Some(600),
                ignore_windows: true,
                approvals: 1,
                spread_seconds: 1_800,
                priority: Priority::Low,
                dry_run_first: true,
                rollout: Some(policy()),
                retry: Some(retry()),
                schedule: Some(Schedule::Cron {
                    cron: "0 2 * * *".into(),
                    zone: "Europe/Berlin".into(),
                }),
                missed: MissedRuns::RunOnce { within_seconds: 3_600 },
                changed_by: user(),
                owner: Some(uuid(1)),
                created_at: at(0),
                updated_at: at(1),
            },
        ),
        document(
            "of devices, by hand",
            &Plan {
                id: id(23),
                name: "By hand".into(),
                description: String::new(),
                enabled: false,
                operation: "shell".into(),
                params: queued().params,
                targets: PlannedTargets {
                    devices: vec![id(10), id(13)],
                    ..PlannedTargets::default()
                },
                timeout_seconds: None,
                expires_in_seconds: None,
                ignore_windows: false,
                approvals: 0,
                spread_seconds: 0,
                priority: Priority::Normal,
                dry_run_first: false,
                rollout: None,
                retry: None,
                schedule: None,
                missed: MissedRuns::Skip,
                changed_by: user(),
                owner: None,
                created_at: at(0),
                updated_at: at(0),
            },
        ),
        document("of a plan that was never due", &progress(22, None)),
        document(
            "of a plan that made work",
            &progress(23, Some(PlanOutcome::Started { batch: id(21) })),
        ),
        document("of a plan that was missed", &progress(24, Some(PlanOutcome::Missed))),
        document(
            "of a plan that was refused",
            &progress(
                25,
                Some(PlanOutcome::Refused {
                    code: "batch.no_targets".into(),
                    message: "no device is meant".into(),
                }),
            ),
        ),
        document(
            "that is held, with all that may be known",
            &Rollout {
                policy: policy(),
                waves: vec![
                    RolloutWave {
                        devices: 1,
                        chosen: Some(Wave::Count { devices: 1 }),
                    },
                    RolloutWave {
                        devices: 9,
                        chosen: None,
                    },
                ],
                wave: 1,
                wave_began_at: at(60),
                paused_by: Some(user()),
                admitted: 4,
                held: vec![2, 3],
                held_until: Some(at(3_600)),
                failed_before: 1,
                unwell: 1,
                forgiven: 2,
                excused: true,
                holds_back: true,
                takes_back: true,
                ..rollout(21, Phase::Rolling)
            },
        ),
        document(
            "that has not begun",
            &rollout(
                22,
                Phase::Pending {
                    until: at(60),
                    approval: true,
                },
            ),
        ),
        document(
            "that watches",
            &rollout(
                23,
                Phase::Watching {
                    since: at(60),
                    until: at(660),
                },
            ),
        ),
        document("that waits for somebody", &rollout(24, Phase::Waiting)),
        document(
            "that halted",
            &rollout(
                25,
                Phase::Halted {
                    reason: "2 devices failed, 1 may: web-01 (failed), web-02 (expired)".into(),
                    watched: true,
                },
            ),
        ),
        document("that is done", &rollout(26, Phase::Done)),
        document("that was given up", &rollout(27, Phase::Aborted)),
        document(
            "of two",
            &RolloutOrder {
                id: id(21),
                devices: vec![id(13), id(10)],
            },
        ),
        document(
            "that is being made",
            &BatchTargets {
                id: id(21),
                devices: vec![id(10), id(13)],
            },
        ),
        document(
            "of one of two",
            &Approval {
                id: id(25),
                batch: id(21),
                operation: "shell".into(),
                params: queued().params,
                runs: 2,
                dry_run: Some(outcome()),
                requested_by: user(),
                requester: Some(uuid(1)),
                requester_may_agree: true,
                needed: 2,
                decisions: vec![Decision {
                    by: user(),
                    user: uuid(2),
                    verdict: Verdict::Approved,
                    comment: Some("after the backup".into()),
                    at: at(9),
                }],
                decided_at: None,
                stopped_at: Some(at(10)),
                created_at: at(0),
                expires_at: at(86_400),
            },
        ),
        document(
            "whose dry run awaits approval",
            &looked(28, PromotionStanding::AwaitingApproval),
        ),
        document("whose dry run is under way", &looked(29, PromotionStanding::Looking)),
        document("of two runs", &batch()),
        document(
            "of groups and devices, again and again",
            &Window {
                scope: WindowScope {
                    all: false,
                    groups: [id(11)].into(),
                    devices: [id(10), id(13)].into(),
                },
                when: WindowTimes::Recurring {
                    cron: "0 3 * * sun".into(),
                    zone: "Europe/Berlin".into(),
                    duration_seconds: 7_200,
                },
                outside: Outside::Postpone {
                    give_up_after_seconds: 3_600,
                },
                operations: ["agent.update".into(), "shell".into()].into(),
                ..blackout()
            },
        ),
        document("of all devices, once", &blackout()),
        document(
            "that only notes",
            &Window {
                outside: Outside::Allow,
                ..blackout()
            },
        ),
        document(
            "that has ended",
            &Run {
                state: State::Failed,
                delivery: delivery.clone(),
                started_at: Some(at(3)),
                finished_at: Some(at(4)),
                cancel_requested_at: Some(at(4)),
                on_hold: true,
                ending: Some(Ending {
                    exit_code: Some(2),
                    signal: Some(15),
                    code: Some("policy.forbidden".into()),
                    message: Some("not on this device".into()),
                    changed: Some(false),
                    summary: None,
                    chunks: 3,
                    truncated_bytes: 12,
                }),
                ..queued()
            },
        ),
        document("that waits for its device", &queued()),
        document(
            "that its device began by itself",
            &Run {
                batch: None,
                origin: Some(RunOrigin {
                    action: id(40),
                    occurrence: uuid(45),
                    manifest_version: 3,
                }),
                state: State::Accepted,
                ..queued()
            },
        ),
        document(
            "that may have arrived",
            &Run {
                state: State::Offered,
                delivery: Delivery {
                    receipt_at: None,
                    ..delivery
                },
                ..queued()
            },
        ),
        row(
            "by a device",
            &event(
                State::Accepted,
                State::Running,
                Actor::Device {
                    id: uuid(10),
                    name: "web-01".into(),
                },
            ),
        ),
        row(
            "by the sweep",
            &RunEvent {
                reason: Some("offered, never confirmed".into()),
                ..event(
                    State::Offered,
                    State::Lost,
                    Actor::System {
                        part: "work.sweep".into(),
                    },
                )
            },
        ),
        row(
            "of standard output",
            &Chunk {
                stream: OutputStream::Stdout,
                text: "Linux\n".into(),
            },
        ),
    ]
}

#[test]
fn what_is_stored_of_work() {
    insta::assert_snapshot!(show(&samples()));
}

#[test]
fn every_state_of_a_run_has_a_name_on_disk() {
    let names: Vec<_> = State::ALL
        .iter()
        .map(|state| serde_json::to_string(state).unwrap())
        .collect();
    insta::assert_snapshot!(names.join(" "));
}
