//! The decision, case by case, in a small world; and against a second formulation of the same rules.

mod naive;
mod pairs;
mod rivals;
mod table;

use std::collections::BTreeSet;

use proptest::prelude::*;
use uuid::Uuid;

use self::{
    naive::{Mutant, naive, naive_overruled},
    rivals::shown_overruled,
};
use super::*;
use crate::{
    access::users::UserId,
    devices::{DeviceGroupId, DeviceId},
    kernel::EntityId,
    work::{
        desired::{ActionId, AssignmentId, DesiredState, Mode, Source, Target},
        operations::Subjects,
    },
};

/// What stands where. `s` is a script, which knows no absence; `n` is written for absence; `x` was deleted, and the set `X`.
const SETS: &[(&str, &str)] = &[
    ("S", "a b"),
    ("T", "b c"),
    ("V", "c x s"),
    ("P", "a"),
    ("Q", "a"),
    ("R", "k o p"),
];
const DEFINITIONS: &[(&str, &str)] = &[
    ("D", "S s"),
    ("E", "T n T"),
    ("F", "S T"),
    ("G", "X a"),
    ("Y", "P"),
    ("Z", "Q"),
    ("K", "l k l"),
];
const ACTIONS: &str = "a b c s n k l m o p q r t v w";
type About = (&'static str, &'static str, &'static str, &'static str, u64);
/// What actions are about: its own, what it shares, what it does, its rank. `k` and `l` contradict each other, `m` does the same as `k`; `o`
/// and `p` are about two things; `q` and `r` have a rank; `t` has a whole that `v` and `w` each alter a part of.
const ABOUT: &[About] = &[
    ("a", "alone", "", "a", 0),
    ("k", "X", "", "k", 0),
    ("l", "X", "", "l", 0),
    ("m", "X", "", "k", 0),
    ("o", "X Y", "", "o", 0),
    ("p", "Y Z", "", "p", 0),
    ("q", "Z", "", "q", 1),
    ("r", "Z", "", "r", 2),
    ("t", "W", "", "t", 0),
    ("v", "W#v", "W", "v", 0),
    ("w", "W#w", "W", "w", 0),
];
const TARGETS: &str = "device g1 g2 g3 u1 u2 u3";

/// Ids that show the name they were made from: of two things that are equal otherwise, the one with the lesser name comes first.
fn id<T: EntityId>(name: &str) -> T {
    let bytes = name.bytes().fold(0_u128, |id, byte| id << 8 | u128::from(byte));
    T::from_uuid(Uuid::from_u128(bytes))
}

fn name(id: impl EntityId) -> String {
    let bytes = id.uuid().as_u128().to_be_bytes();
    bytes
        .iter()
        .filter(|byte| **byte != 0)
        .map(|byte| char::from(*byte))
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

fn source(name: &str) -> Source {
    if name == "X" || SETS.iter().any(|(set, _)| *set == name) {
        Source::ActionSet(id(name))
    } else if DEFINITIONS.iter().any(|(definition, _)| *definition == name) {
        Source::Definition(id(name))
    } else {
        Source::Action(id(name))
    }
}

fn target(name: &str) -> Target {
    match name.as_bytes() {
        b"device" => Target::Device(id("device")),
        [b'g', ..] => Target::DeviceGroup(id(name)),
        _ => Target::User(id(name)),
    }
}

fn mode(name: &str) -> Mode {
    *Mode::ALL.iter().find(|mode| mode.name() == name).unwrap()
}

/// An assignment in words: `g1 required S`, or `g1 required S 5` where the order matters.
#[derive(Clone, Debug)]
struct Line {
    target: String,
    mode: Mode,
    source: String,
    order: i32,
}

fn lines(text: &str) -> Vec<Line> {
    let lines = text.split(',').map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| match words(line).collect::<Vec<_>>()[..] {
            [target, with, source, ref order @ ..] => Line {
                target: target.into(),
                mode: mode(with),
                source: source.into(),
                order: order.first().map_or(0, |order| order.parse().unwrap()),
            },
            _ => panic!("{line}"),
        })
        .collect()
}

/// What actions are about, whatever else there is.
fn claims() -> Claims {
    let names = |text| words(text).map(str::to_owned).collect();
    let claimant = |(action, own, shared, _, rank): &About, state| Claimant {
        action: id(action),
        state,
        subjects: Subjects {
            own: names(own),
            shared: names(shared),
            rank: *rank,
        },
    };
    let states = [DesiredState::Present, DesiredState::Absent];
    let claimants = ABOUT
        .iter()
        .flat_map(|about| states.map(|state| claimant(about, state)));
    let claimants: Vec<_> = claimants.collect();
    Claims::of(&claimants, |action, state| {
        let about = ABOUT.iter().find(|about| id::<ActionId>(about.0) == action).unwrap();
        (about.3, state)
    })
}

fn world(lines: &[Line]) -> World {
    let mut world = World::default();
    for action in words(ACTIONS) {
        let facts = ActionFacts {
            state: if action == "n" {
                DesiredState::Absent
            } else {
                DesiredState::Present
            },
            can_be_absent: action != "s",
        };
        world.actions.insert(id(action), facts);
    }
    world.claims = claims();
    for (set, members) in SETS {
        world.sets.insert(id(set), words(members).map(id).collect());
    }
    for (definition, members) in DEFINITIONS {
        let member = |name| match source(name) {
            Source::ActionSet(set) => Member::ActionSet(set),
            _ => Member::Action(id(name)),
        };
        world
            .definitions
            .insert(id(definition), words(members).map(member).collect());
    }
    for (at, line) in lines.iter().enumerate() {
        let assigned = Assigned {
            id: AssignmentId::from_uuid(Uuid::from_u128(at as u128)),
            source: source(&line.source),
            mode: line.mode,
            order: line.order,
        };
        world
            .assignments
            .entry(target(&line.target))
            .or_default()
            .push(assigned);
    }
    world
}

/// A device in `g1` and `g2` that belongs to `u1` and `u2`, on which this was chosen.
fn resolved(lines: &[Line], selected: &str) -> Resolution {
    let selected: BTreeSet<Source> = words(selected).map(source).collect();
    let groups: BTreeSet<DeviceGroupId> = ["g1", "g2"].map(id).into();
    let owners: BTreeSet<UserId> = ["u1", "u2"].map(id).into();
    let device = DeviceFacts {
        id: id::<DeviceId>("device"),
        groups: &groups,
        owners: &owners,
        selected: &selected,
    };
    resolve(&world(lines), &device)
}

/// The groups in a line, such as `D[a b-] c[c]`, where `-` is absence.
fn show(resolution: &Resolution) -> String {
    let group = |group: &ResolvedGroup| {
        let key = match group.key {
            GroupKey::Definition(id) => name(id),
            GroupKey::ActionSet(id) => name(id),
            GroupKey::Action(id) => name(id),
        };
        let action = |placed: &Placed| match placed.state {
            DesiredState::Present => name(placed.action),
            DesiredState::Absent => format!("{}-", name(placed.action)),
        };
        let actions: Vec<_> = group.actions.iter().map(action).collect();
        format!("{key}[{}]", actions.join(" "))
    };
    resolution.groups.iter().map(group).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(assigned: &str, selected: &str, expected: &str) {
    let resolution = resolved(&lines(assigned), selected);
    assert_eq!(show(&resolution), expected, "{assigned}; chosen: {selected}");
    check_explained(&resolution);
}

/// Each decision is explained by the steps that it rests on, and what applies stands in a group, and nothing else does.
#[track_caller]
fn check_explained(resolution: &Resolution) {
    let placed = resolution.groups.iter().flat_map(|group| &group.actions);
    let placed: BTreeSet<_> = placed.map(|placed| (placed.action, placed.state)).collect();
    let applied = resolution.decisions.iter();
    let applied = applied.filter_map(|(action, decision)| Some((*action, decision.outcome.state()?)));
    assert_eq!(placed, applied.collect());
    for decision in resolution.decisions.values() {
        let deciding: Vec<_> = decision
            .steps
            .iter()
            .filter(|step| step.standing == Standing::Decides)
            .collect();
        assert!(!deciding.is_empty(), "{decision:?}");
        assert!(deciding.iter().all(|step| step.layer == decision.layer), "{decision:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_second_formulation_comes_to_the_same(
        assigned in proptest::collection::vec(
            (0..7_usize, 0..4_usize, 0..28_usize, -1..2_i32), 0..11),
        chosen in proptest::collection::btree_set(0..28_usize, 0..5),
    ) {
        let sources: Vec<&str> = words(ACTIONS)
            .chain(SETS.iter().chain(DEFINITIONS).map(|(name, _)| *name))
            .collect();
        let targets: Vec<_> = words(TARGETS).collect();
        let mut seen = BTreeSet::new();
        let assigned: Vec<Line> = assigned
            .iter()
            .map(|(target, mode, source, order)| Line {
                target: targets[*target].into(),
                mode: Mode::ALL[*mode],
                source: sources[*source].into(),
                order: *order,
            })
            .filter(|line| seen.insert((line.target.clone(), line.source.clone())))
            .collect();
        let chosen: Vec<_> = chosen.iter().map(|at| sources[*at]).collect();
        let resolution = resolved(&assigned, &chosen.join(" "));
        prop_assert_eq!(show(&resolution), naive(&assigned, &chosen, Mutant::None));
        prop_assert_eq!(shown_overruled(&resolution), naive_overruled(&assigned, &chosen, Mutant::None));
        check_explained(&resolution);
    }
}
