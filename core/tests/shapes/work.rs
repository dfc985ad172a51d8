//! What `work` stores.

use fleet_core::{
    access::Actor,
    protocol::OutputStream,
    work::{
        Approval, Batch, Plan, Run, State,
        approvals::{Decision, Verdict},
        batch::{BatchTargets, Cause, PlannedTargets},
        output::Chunk,
        run::{Delivery, Ending, RunEvent},
        windows::{Outside, Window, WindowKind, WindowScope, WindowTimes},
    },
};
use serde_json::json;

use crate::{
    sample::{Sample, document, row, show},
    values::{at, id, user, uuid},
};

fn queued() -> Run {
    Run {
        id: id(20),
        batch: id(21),
        device: id(10),
        device_name: "web-01".into(),
        operation: "shell".into(),
        params: json!({"script": "uname -a", "interpreter": "/bin/sh"}),
        state: State::Queued,
        delivery: Delivery::default(),
        created_at: at(0),
        expires_at: at(3_600),
        timeout_seconds: 300,
        output_limit_bytes: 4 << 20,
        started_at: None,
        finished_at: None,
        cancel_requested_at: None,
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
        batch: id(21),
        from,
        to,
        at: at(3),
        actor,
        reason: None,
    };
    vec![
        document(
            "of a person",
            &Plan {
                id: id(22),
                cause: Cause::Manual,
                operation: "shell".into(),
                params: queued().params,
                targets: PlannedTargets {
                    devices: vec![id(10), id(13)],
                    ..PlannedTargets::default()
                },
                created_by: user(),
                created_at: at(0),
            },
        ),
        document(
            "for groups and labels, tried again",
            &Plan {
                id: id(23),
                cause: Cause::Retry,
                operation: "shell".into(),
                params: queued().params,
                targets: PlannedTargets {
                    groups: vec![id(30)],
                    labels: vec!["env=prod".into()],
                    ..PlannedTargets::default()
                },
                created_by: user(),
                created_at: at(0),
            },
        ),
        document(
            "of all devices",
            &Plan {
                id: id(24),
                cause: Cause::Manual,
                operation: "shell".into(),
                params: queued().params,
                targets: PlannedTargets {
                    all: true,
                    ..PlannedTargets::default()
                },
                created_by: user(),
                created_at: at(0),
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
                requested_by: user(),
                requester: Some(uuid(1)),
                needed: 2,
                decisions: vec![Decision {
                    by: user(),
                    user: uuid(2),
                    verdict: Verdict::Approved,
                    comment: Some("after the backup".into()),
                    at: at(9),
                }],
                decided_at: None,
                created_at: at(0),
                expires_at: at(86_400),
            },
        ),
        document(
            "of two runs",
            &Batch {
                id: id(21),
                plan: id(22),
                operation: "shell".into(),
                params: queued().params,
                timeout_seconds: 300,
                expiry_seconds: 3_600,
                expires_at: at(3_600),
                runs: 2,
                start_at: Some(at(60)),
                ignores_windows: true,
                approval: Some(id(25)),
                retry_of: Some(id(26)),
                expanding_since: Some(at(0)),
                release_at: Some(at(60)),
                cancelled_at: Some(at(61)),
                cancelling_since: Some(at(61)),
                runs_digest: "e".repeat(64),
                request_digest: "f".repeat(64),
                created_by: user(),
                created_at: at(0),
            },
        ),
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
                ending: Some(Ending {
                    exit_code: Some(2),
                    signal: Some(15),
                    code: Some("policy.forbidden".into()),
                    message: Some("not on this device".into()),
                    chunks: 3,
                    truncated_bytes: 12,
                }),
                ..queued()
            },
        ),
        document("that waits for its device", &queued()),
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
