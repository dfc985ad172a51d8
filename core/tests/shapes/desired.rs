//! What desired state stores.

use fleet_core::protocol::{Applied, Failing};
use fleet_core::work::StoredParams;
use fleet_core::work::desired::{
    ActionSet, Assignment, ChangeCounts, Definition, DesiredAction, DesiredChange, DesiredEdition, DesiredEditionId,
    DesiredState, DeviceOwners, DeviceSelections, Manifest, ManifestContent, ManifestContentId, Mode, OnFailure,
    Rhythm, RhythmTimes, Source, Target,
    manifest::{
        ManifestEvent, ManifestEventKind, ManifestGroup, ManifestProblem, ManifestProgress, ManifestState, Occurrence,
        Round,
    },
    resolve::Member,
};
use fleet_core::work::windows::{HeldWindow, Outside, WindowKind, WindowTimes};
use serde_json::json;

use crate::{
    sample::{Sample, document, latest, row, show},
    values::{at, id, read, uuid},
};

fn action() -> DesiredAction {
    DesiredAction {
        id: id(40),
        name: "Motd".into(),
        description: "What people read first".into(),
        operation: "file".into(),
        params: StoredParams::without_secrets(json!({"path": "/etc/motd", "content": "welcome\n"})),
        state: DesiredState::Present,
        timeout_seconds: 300,
        rhythm: Some(nightly()),
        generation: 2,
        created_at: at(0),
        updated_at: at(1),
    }
}

fn nightly() -> Rhythm {
    Rhythm {
        when: RhythmTimes::Cron {
            cron: "0 3 * * *".into(),
        },
        on_change: false,
        skip_unchanged: true,
    }
}

fn set() -> ActionSet {
    ActionSet {
        id: id(41),
        name: "Base".into(),
        description: String::new(),
        members: vec![id(40), id(39), id(40)],
        rhythm: Rhythm::default(),
        on_failure: OnFailure::Continue,
        created_at: at(0),
        updated_at: at(1),
    }
}

fn assignment() -> Assignment {
    Assignment {
        id: id(43),
        source: Source::ActionSet(id(41)),
        target: Target::DeviceGroup(id(11)),
        mode: Mode::Required,
        order: -1,
        created_at: at(0),
        updated_at: at(1),
    }
}

fn occurrence(state: DesiredState) -> Occurrence {
    Occurrence {
        id: uuid(45),
        action: id(40),
        name: "Motd".into(),
        generation: 2,
        operation: "file".into(),
        params: StoredParams::without_secrets(json!({"path": "/etc/motd", "content": "welcome\n", "state": state})),
        subjects: ["user:ann".to_owned()].into(),
        state,
        timeout_seconds: 300,
        action_set: Some(id(41)),
    }
}

fn held_window() -> HeldWindow {
    HeldWindow {
        id: id(45),
        name: "nights".into(),
        kind: WindowKind::Maintenance,
        when: WindowTimes::Recurring {
            cron: "0 3 * * *".into(),
            zone: "UTC".into(),
            duration_seconds: 7_200,
        },
        outside: Outside::Postpone {
            give_up_after_seconds: 3_600,
        },
        operations: ["package".to_owned()].into(),
    }
}

fn manifest() -> Manifest {
    Manifest {
        id: id(10),
        version: 3,
        digest: "d".repeat(64),
        content: Some(ManifestContentId::of("d")),
        reverts: vec![Occurrence {
            action_set: None,
            ..occurrence(DesiredState::Absent)
        }],
        problem: Some(problem()),
        compiled_at: at(2),
    }
}

fn problem() -> ManifestProblem {
    ManifestProblem {
        code: "manifest.too_large".into(),
        message: "2001 actions apply to the device".into(),
        since: at(3),
    }
}

fn event() -> ManifestEvent {
    ManifestEvent {
        device: Some(id(10)),
        event: ManifestEventKind::Failed,
        at: at(3),
        version: 3,
        digest: "d".repeat(64),
        content: Some(ManifestContentId::of("d")),
        count: 7,
        reverts: 1,
        problem: Some(problem()),
    }
}

pub fn samples() -> Vec<Sample> {
    vec![
        document("by night", &action()),
        document(
            "that shall not be",
            &DesiredAction {
                state: DesiredState::Absent,
                rhythm: None,
                ..action()
            },
        ),
        document("of three, one twice", &set()),
        document(
            "of a set and an action",
            &Definition {
                id: id(42),
                name: "Web server".into(),
                description: "Behind the balancer".into(),
                members: vec![Member::ActionSet(id(41)), Member::Action(id(39))],
                rhythm: nightly(),
                on_failure: OnFailure::Stop,
                created_at: at(0),
                updated_at: at(1),
            },
        ),
        document("of a set to a group", &assignment()),
        document(
            "of an action to a device",
            &Assignment {
                source: Source::Action(id(40)),
                target: Target::Device(id(10)),
                mode: Mode::Available,
                ..assignment()
            },
        ),
        document(
            "of a definition to a user",
            &Assignment {
                source: Source::Definition(id(42)),
                target: Target::User(id(1)),
                mode: Mode::Uninstall,
                ..assignment()
            },
        ),
        document(
            "two",
            &DeviceOwners {
                id: id(10),
                users: [id(1), id(2)].into(),
            },
        ),
        document(
            "of each sort",
            &DeviceSelections {
                id: id(10),
                selected: [
                    Source::Action(id(40)),
                    Source::ActionSet(id(41)),
                    Source::Definition(id(42)),
                ]
                .into(),
            },
        ),
        document(
            "the only one",
            &DesiredEdition {
                id: DesiredEditionId::only(),
                number: 12,
                token: uuid(46),
                counts: ChangeCounts {
                    actions: 1,
                    sets: 2,
                    definitions: 3,
                    assignments: 4,
                },
            },
        ),
        document(
            "of an action, and of whom it was taken from",
            &DesiredChange {
                id: id(44),
                sources: [Source::Action(id(40))].into(),
                targets: [Target::Device(id(10))].into(),
                everyone: true,
                created_at: at(0),
            },
        ),
        document("that could not be compiled anew", &manifest()),
        document(
            "that is current",
            &Manifest {
                reverts: Vec::new(),
                problem: None,
                ..manifest()
            },
        ),
        document(
            "of one group",
            &ManifestContent {
                id: ManifestContentId::of("d"),
                groups: vec![ManifestGroup {
                    label: "definition:019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41".into(),
                    name: "Base".into(),
                    rhythm: Rhythm::default(),
                    on_failure: OnFailure::Stop,
                    occurrences: vec![occurrence(DesiredState::Present)],
                }],
                windows: vec![held_window()],
                used_at: at(2),
            },
        ),
        row("that failed", &event()),
        row(
            "of no device",
            &ManifestEvent {
                device: None,
                event: ManifestEventKind::ChangesDone,
                version: 0,
                digest: String::new(),
                content: None,
                problem: None,
                ..event()
            },
        ),
        latest(
            "in the middle of everything",
            &ManifestProgress {
                round: Some(Round {
                    changes: vec![id(44)],
                    target: Target::DeviceGroup(id(11)),
                    after: Some(read(json!("token"))),
                }),
                pass_after: Some(read(json!("token"))),
                is_passing: true,
                passed_at: Some(at(4)),
            },
        ),
        latest("at rest", &ManifestProgress::default()),
        latest(
            "that a device has told of",
            &ManifestState {
                applied: Applied {
                    version: 3,
                    digest: "d".into(),
                    kept: 4,
                    failed: 1,
                    failing: vec![Failing {
                        occurrence: uuid(45),
                        since: at(1),
                        code: None,
                    }],
                    ..Applied::default()
                },
                at: at(5),
            },
        ),
    ]
}

#[test]
fn what_is_stored_of_desired_state() {
    insta::assert_snapshot!(show(&samples()));
}
