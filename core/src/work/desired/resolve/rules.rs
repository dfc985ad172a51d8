//! The decision.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Assigned, Decision, DeviceFacts, GroupKey, Layer, Member, Outcome, Placed, Reason, Resolution, ResolvedGroup,
    Standing, Step, World, overruled,
};
use crate::work::desired::{ActionId, ActionSetId, DefinitionId, DesiredState, Mode, Source, Target};

/// Where an action stands by one way: the order of its assignment, then its place in definition, set of the definition, and set.
type Place = (i32, usize, usize);

/// One way that leads from an assignment to an action.
#[derive(Clone, Copy, Debug)]
struct Way<'a> {
    assigned: &'a Assigned,
    target: Target,
    layer: Layer,
    level: u8,
    definition: Option<DefinitionId>,
    action_set: Option<ActionSetId>,
    place: Place,
    is_selected: bool,
}

/// What the most direct ways of a layer come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Excluded,
    TakenAway,
    Applies,
    /// Available, and not chosen.
    Unselected,
}

/// What applies to a device, in which order, and why.
pub fn resolve(world: &World, device: &DeviceFacts<'_>) -> Resolution {
    let ways = ways(world, device);
    let mut decisions: BTreeMap<ActionId, Decision> = ways
        .iter()
        .map(|(action, ways)| (*action, decide(world, *action, ways)))
        .collect();
    let mut groups = group(world, device, &ways, &decisions);
    for (action, overruling) in overruled(&world.claims, &groups) {
        if let Some(decision) = decisions.get_mut(&action) {
            decision.outcome = Outcome::NotApplied;
            decision.reason = Reason::Overruled;
            decision.overruled_by = Some(overruling);
        }
        for group in &mut groups {
            group.actions.retain(|placed| placed.action != action);
        }
    }
    groups.retain(|group| !group.actions.is_empty());
    Resolution { groups, decisions }
}

/// The targets that reach a device, with the layer of each.
fn targets<'a>(device: &'a DeviceFacts<'_>) -> impl Iterator<Item = (Target, Layer)> + 'a {
    let groups = device.groups.iter().map(|group| Target::DeviceGroup(*group));
    let owners = device.owners.iter().map(|user| (Target::User(*user), Layer::User));
    std::iter::once(Target::Device(device.id))
        .chain(groups)
        .map(|target| (target, Layer::Device))
        .chain(owners)
}

/// All ways to each action that is there.
fn ways<'a>(world: &'a World, device: &DeviceFacts<'_>) -> BTreeMap<ActionId, Vec<Way<'a>>> {
    let mut found: BTreeMap<ActionId, Vec<Way<'a>>> = BTreeMap::new();
    for (target, layer) in targets(device) {
        for assigned in world.assignments.get(&target).into_iter().flatten() {
            let direct = Way {
                assigned,
                target,
                layer,
                level: 1,
                definition: None,
                action_set: None,
                place: (assigned.order, 0, 0),
                is_selected: device.selected.contains(&assigned.source),
            };
            let mut add = |action: ActionId, way: Way<'a>| {
                if world.actions.contains_key(&action) {
                    found.entry(action).or_default().push(way);
                }
            };
            match assigned.source {
                Source::Action(action) => add(action, direct),
                Source::ActionSet(set) => {
                    for (at, action) in members(world, set).enumerate() {
                        let way = Way {
                            level: 2,
                            action_set: Some(set),
                            place: (assigned.order, 0, at),
                            ..direct
                        };
                        add(action, way);
                    }
                }
                Source::Definition(definition) => {
                    for (outer, member) in world.definitions.get(&definition).into_iter().flatten().enumerate() {
                        for (inner, (action, action_set)) in member_actions(world, *member).enumerate() {
                            let way = Way {
                                level: 3,
                                definition: Some(definition),
                                action_set,
                                place: (assigned.order, outer, inner),
                                ..direct
                            };
                            add(action, way);
                        }
                    }
                }
            }
        }
    }
    found
}

fn members(world: &World, set: ActionSetId) -> impl Iterator<Item = ActionId> + '_ {
    world.sets.get(&set).into_iter().flatten().copied()
}

/// The actions of a member of a definition, with the set that they stand in.
fn member_actions(world: &World, member: Member) -> Box<dyn Iterator<Item = (ActionId, Option<ActionSetId>)> + '_> {
    match member {
        Member::Action(action) => Box::new(std::iter::once((action, None))),
        Member::ActionSet(set) => Box::new(members(world, set).map(move |action| (action, Some(set)))),
    }
}

/// What the ways of one layer come to; none when there are none.
fn settle<'w, 'a: 'w>(ways: impl Iterator<Item = &'w Way<'a>> + Clone) -> Option<(u8, Verdict)> {
    let level = ways.clone().map(|way| way.level).min()?;
    let most_direct = ways.filter(|way| way.level == level);
    let has = |mode| most_direct.clone().any(|way| way.assigned.mode == mode);
    let is_chosen = |way: &Way<'_>| way.assigned.mode == Mode::Available && way.is_selected;
    let verdict = if has(Mode::Excluded) {
        Verdict::Excluded
    } else if has(Mode::Uninstall) {
        Verdict::TakenAway
    } else if has(Mode::Required) || most_direct.clone().any(is_chosen) {
        Verdict::Applies
    } else {
        Verdict::Unselected
    };
    Some((level, verdict))
}

fn decide(world: &World, action: ActionId, ways: &[Way<'_>]) -> Decision {
    let of = |layer| settle(ways.iter().filter(move |way| way.layer == layer));
    let (layer, (level, verdict)) = match (of(Layer::Device), of(Layer::User)) {
        // What the device's layer merely offers leaves the other to decide.
        (None | Some((_, Verdict::Unselected)), Some(by_user)) => (Layer::User, by_user),
        (Some(by_device), _) => (Layer::Device, by_device),
        (None, None) => (Layer::Device, (0, Verdict::Unselected)),
    };
    let facts = world.actions.get(&action);
    let (outcome, reason) = match verdict {
        Verdict::Excluded => (Outcome::NotApplied, Reason::Excluded),
        Verdict::Unselected => (Outcome::NotApplied, Reason::NotSelected),
        Verdict::TakenAway if facts.is_some_and(|facts| facts.can_be_absent) => (Outcome::Absent, Reason::Uninstalled),
        Verdict::TakenAway => (Outcome::NotApplied, Reason::NothingToTakeAway),
        Verdict::Applies => match facts.map(|facts| facts.state) {
            Some(DesiredState::Absent) => (Outcome::Absent, Reason::Assigned),
            _ => (Outcome::Present, Reason::Assigned),
        },
    };
    let standing = |way: &Way<'_>| {
        if way.layer != layer {
            return Standing::OtherLayer;
        }
        if way.level > level {
            return Standing::LessDirect;
        }
        match (verdict, way.assigned.mode) {
            (Verdict::Excluded, Mode::Excluded)
            | (Verdict::TakenAway, Mode::Uninstall)
            | (Verdict::Applies, Mode::Required)
            | (Verdict::Unselected, _) => Standing::Decides,
            (Verdict::Applies, Mode::Available) if way.is_selected => Standing::Decides,
            (_, Mode::Available) if !way.is_selected => Standing::NotSelected,
            _ => Standing::Outweighed,
        }
    };
    let step = |way: &Way<'_>| Step {
        assignment: way.assigned.id,
        target: way.target,
        layer: way.layer,
        mode: way.assigned.mode,
        level: way.level,
        definition: way.definition,
        action_set: way.action_set,
        standing: standing(way),
    };
    Decision {
        outcome,
        reason,
        layer,
        steps: ways.iter().map(step).collect(),
        overruled_by: None,
    }
}

/// The definitions and sets that are in effect by the device's layer, with the least order of their assignments.
fn in_effect(world: &World, device: &DeviceFacts<'_>) -> BTreeMap<Source, i32> {
    let mut reached: BTreeMap<Source, Vec<&Assigned>> = BTreeMap::new();
    let of_device = targets(device).filter(|(_, layer)| *layer == Layer::Device);
    for (target, _) in of_device {
        for assigned in world.assignments.get(&target).into_iter().flatten() {
            reached.entry(assigned.source).or_default().push(assigned);
        }
    }
    let order = |(source, ways): (Source, Vec<&Assigned>)| {
        let is_excluded = ways.iter().any(|way| way.mode == Mode::Excluded);
        let counts = |way: &&&Assigned| match way.mode {
            Mode::Required | Mode::Uninstall => true,
            Mode::Available => device.selected.contains(&source),
            Mode::Excluded => false,
        };
        let order = ways.iter().filter(counts).map(|way| way.order).min();
        order.filter(|_| !is_excluded).map(|order| (source, order))
    };
    reached.into_iter().filter_map(order).collect()
}

fn group(
    world: &World,
    device: &DeviceFacts<'_>,
    ways: &BTreeMap<ActionId, Vec<Way<'_>>>,
    decisions: &BTreeMap<ActionId, Decision>,
) -> Vec<ResolvedGroup> {
    let in_effect = in_effect(world, device);
    let placed = |action: ActionId, action_set: Option<ActionSetId>| {
        // What only the owners' layer applies stands alone: its definitions and sets are not the device's.
        let decision = decisions
            .get(&action)
            .filter(|decision| decision.layer == Layer::Device)?;
        let state = decision.outcome.state()?;
        Some(Placed {
            action,
            state,
            action_set,
        })
    };
    let taken_in: BTreeSet<ActionSetId> = in_effect
        .keys()
        .filter_map(|source| match source {
            Source::Definition(id) => world.definitions.get(id),
            _ => None,
        })
        .flatten()
        .filter_map(|member| match member {
            Member::ActionSet(set) => Some(*set),
            Member::Action(_) => None,
        })
        .collect();
    // Definitions before sets before single actions before what only owners have, where their orders are equal.
    let mut groups: Vec<((i32, u8, usize, usize), ResolvedGroup)> = Vec::new();
    let mut in_groups = BTreeSet::new();
    for (source, order) in &in_effect {
        let (rank, key, actions): (_, _, Vec<Placed>) = match source {
            Source::Definition(id) => {
                let members = world.definitions.get(id).into_iter().flatten();
                let actions = members.flat_map(|member| member_actions(world, *member));
                let actions = actions.filter_map(|(action, set)| placed(action, set)).collect();
                (0, GroupKey::Definition(*id), actions)
            }
            Source::ActionSet(set) if !taken_in.contains(set) => {
                let actions = members(world, *set).filter_map(|action| placed(action, None));
                (1, GroupKey::ActionSet(*set), actions.collect())
            }
            Source::ActionSet(_) | Source::Action(_) => continue,
        };
        if !actions.is_empty() {
            in_groups.extend(actions.iter().map(|placed| placed.action));
            groups.push(((*order, rank, 0, 0), ResolvedGroup { key, actions }));
        }
    }
    for (action, decision) in decisions {
        let Some(state) = decision.outcome.state().filter(|_| !in_groups.contains(action)) else {
            continue;
        };
        let deciding = decision.steps.iter().zip(ways.get(action).into_iter().flatten());
        let deciding = deciding.filter(|(step, _)| step.standing == Standing::Decides);
        let (order, outer, inner) = deciding.map(|(_, way)| way.place).min().unwrap_or_default();
        let alone = Placed {
            action: *action,
            state,
            action_set: None,
        };
        let group = ResolvedGroup {
            key: GroupKey::Action(*action),
            actions: vec![alone],
        };
        // What the device has for itself before what its owners have: of those that contradict each other the first applies.
        let rank = match decision.layer {
            Layer::Device => 2,
            Layer::User => 3,
        };
        groups.push(((order, rank, outer, inner), group));
    }
    groups.sort_by_key(|(place, group)| (*place, group.key));
    groups.into_iter().map(|(_, group)| group).collect()
}
