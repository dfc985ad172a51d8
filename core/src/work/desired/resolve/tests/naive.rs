//! The rules once more, as plainly as they can be written, with names instead of ids: everything is looked for from the beginning each
//! time. And the mistakes that the table of cases has to notice.

use std::collections::BTreeSet;

use super::{ACTIONS, DEFINITIONS, Line, Mode, SETS, rivals, words};

/// A mistake in the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    None,
    LevelsAreEqual,
    LeastDirectWins,
    ExcludedLosesToRequired,
    UninstallLosesToRequired,
    UninstallBeatsExcluded,
    AvailableIsRequired,
    AvailableNeverApplies,
    UserDecidesFirst,
    UserOverridesExclusion,
    UninstallIsExclusion,
    UnselectedBlocksUser,
    UserExclusionBlocksDevice,
    LayersAreOne,
    ForeignGroupsCount,
    ForeignUsersCount,
    OnlyOneGroupCounts,
    OnlyOneOwnerCounts,
    DirectAssignmentIsIgnored,
    GroupsKeepWhatWasDropped,
    GroupsForcePresence,
    ExcludedContainersTakeIn,
    SetsAreNotTakenIn,
    UnselectedContainersAreGroups,
    ExcludedContainersAreGroups,
    RepeatsAreDropped,
    ScriptsAreUninstalled,
    OwnStateIsIgnored,
    UserActionsStandInGroups,
    LooseActionsRepeatWhatGroupsHave,
    OrderIsIgnored,
    GreatestOrderCounts,
    DeletedActionsStay,
    ContradictionsStay,
    TheLastApplies,
    EqualParametersContradict,
    TheOverruledOverrule,
    RanksAreIgnored,
    TheLowestRankApplies,
    AllSubjectsHaveToBeTaken,
    StatesDoTheSame,
    PartsContradictEachOther,
    PartsContradictNothing,
    TheWholeYieldsToNoPart,
    RepeatsContradictThemselves,
    OwnersStandAmongTheDevices,
}

impl Mutant {
    pub const ALL: &[Self] = &[
        Self::LevelsAreEqual,
        Self::LeastDirectWins,
        Self::ExcludedLosesToRequired,
        Self::UninstallLosesToRequired,
        Self::UninstallBeatsExcluded,
        Self::AvailableIsRequired,
        Self::AvailableNeverApplies,
        Self::UserDecidesFirst,
        Self::UserOverridesExclusion,
        Self::UninstallIsExclusion,
        Self::UnselectedBlocksUser,
        Self::UserExclusionBlocksDevice,
        Self::LayersAreOne,
        Self::ForeignGroupsCount,
        Self::ForeignUsersCount,
        Self::OnlyOneGroupCounts,
        Self::OnlyOneOwnerCounts,
        Self::DirectAssignmentIsIgnored,
        Self::GroupsKeepWhatWasDropped,
        Self::GroupsForcePresence,
        Self::ExcludedContainersTakeIn,
        Self::SetsAreNotTakenIn,
        Self::UnselectedContainersAreGroups,
        Self::ExcludedContainersAreGroups,
        Self::RepeatsAreDropped,
        Self::ScriptsAreUninstalled,
        Self::OwnStateIsIgnored,
        Self::UserActionsStandInGroups,
        Self::LooseActionsRepeatWhatGroupsHave,
        Self::OrderIsIgnored,
        Self::GreatestOrderCounts,
        Self::DeletedActionsStay,
        Self::ContradictionsStay,
        Self::TheLastApplies,
        Self::EqualParametersContradict,
        Self::TheOverruledOverrule,
        Self::RanksAreIgnored,
        Self::TheLowestRankApplies,
        Self::AllSubjectsHaveToBeTaken,
        Self::StatesDoTheSame,
        Self::PartsContradictEachOther,
        Self::PartsContradictNothing,
        Self::TheWholeYieldsToNoPart,
        Self::RepeatsContradictThemselves,
        Self::OwnersStandAmongTheDevices,
    ];
}

/// What a mode comes to: the least wins.
const EXCLUDED: u8 = 0;
const UNINSTALL: u8 = 1;
const APPLIES: u8 = 2;
const UNSELECTED: u8 = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum In {
    Device,
    User,
}

fn members<'n>(table: &[(&str, &'n str)], name: &str) -> Option<Vec<&'n str>> {
    let found = table.iter().find(|(known, _)| *known == name)?;
    Some(words(found.1).collect())
}

/// Every place of an action below a source: how far down, and where.
fn places(source: &str, action: &str) -> Vec<(u8, usize, usize)> {
    if let Some(set) = members(SETS, source) {
        let found = set.iter().enumerate().filter(|(_, name)| **name == action);
        return found.map(|(at, _)| (2, 0, at)).collect();
    }
    let Some(definition) = members(DEFINITIONS, source) else {
        return if source == action { vec![(1, 0, 0)] } else { Vec::new() };
    };
    let mut found = Vec::new();
    for (outer, member) in definition.iter().enumerate() {
        match members(SETS, member) {
            Some(set) => {
                let inner = set.iter().enumerate().filter(|(_, name)| **name == action);
                found.extend(inner.map(|(inner, _)| (3, outer, inner)));
            }
            None if *member == action => found.push((3, outer, 0)),
            None => {}
        }
    }
    found
}

/// All actions below a source, in order.
fn below(source: &str) -> Vec<&str> {
    match (members(SETS, source), members(DEFINITIONS, source)) {
        (Some(set), _) => set,
        (None, Some(definition)) => {
            let inner = |member| members(SETS, member).unwrap_or_else(|| vec![member]);
            definition.into_iter().flat_map(inner).collect()
        }
        (None, None) => Vec::new(),
    }
}

fn layer(target: &str, mutant: Mutant) -> Option<In> {
    match target {
        "device" if mutant != Mutant::DirectAssignmentIsIgnored => Some(In::Device),
        "g1" => Some(In::Device),
        "g2" if mutant != Mutant::OnlyOneGroupCounts => Some(In::Device),
        "g3" if mutant == Mutant::ForeignGroupsCount => Some(In::Device),
        _ if mutant == Mutant::LayersAreOne && ["u1", "u2"].contains(&target) => Some(In::Device),
        "u1" => Some(In::User),
        "u2" if mutant != Mutant::OnlyOneOwnerCounts => Some(In::User),
        "u3" if mutant == Mutant::ForeignUsersCount => Some(In::User),
        _ => None,
    }
}

fn strength(mode: Mode, is_chosen: bool, mutant: Mutant) -> u8 {
    let usual = match mode {
        Mode::Excluded => EXCLUDED,
        Mode::Uninstall => UNINSTALL,
        Mode::Required => APPLIES,
        Mode::Available if mutant == Mutant::AvailableNeverApplies => UNSELECTED,
        Mode::Available if is_chosen || mutant == Mutant::AvailableIsRequired => APPLIES,
        Mode::Available => UNSELECTED,
    };
    // Numbers out of their order, put back by `meaning`.
    match (mutant, usual) {
        (Mutant::ExcludedLosesToRequired, EXCLUDED) => 12,
        (Mutant::UninstallLosesToRequired, UNINSTALL) => 12,
        (Mutant::ExcludedLosesToRequired | Mutant::UninstallLosesToRequired, other) => {
            10 * u8::from(other > 2) + 5 + other
        }
        (Mutant::UninstallBeatsExcluded, EXCLUDED) => 1,
        (Mutant::UninstallBeatsExcluded, UNINSTALL) => 0,
        (_, usual) => usual,
    }
}

fn meaning(strength: u8, mutant: Mutant) -> u8 {
    match (mutant, strength) {
        (Mutant::ExcludedLosesToRequired, 12) => EXCLUDED,
        (Mutant::UninstallLosesToRequired, 12) => UNINSTALL,
        (Mutant::ExcludedLosesToRequired | Mutant::UninstallLosesToRequired, other) => (other - 5) % 10,
        (Mutant::UninstallBeatsExcluded, 0) => UNINSTALL,
        (Mutant::UninstallBeatsExcluded, 1) => EXCLUDED,
        (_, strength) => strength,
    }
}

/// What a layer says of an action, with the least place by which it says so.
fn said(
    lines: &[Line],
    chosen: &[&str],
    action: &str,
    wanted: In,
    mutant: Mutant,
) -> Option<(u8, (i32, usize, usize))> {
    let mut best: Option<(u8, u8, (i32, usize, usize))> = None;
    for line in lines.iter().filter(|line| layer(&line.target, mutant) == Some(wanted)) {
        for (level, outer, inner) in places(&line.source, action) {
            let level = match mutant {
                Mutant::LevelsAreEqual => 1,
                Mutant::LeastDirectWins => 4 - level,
                _ => level,
            };
            let strength = strength(line.mode, chosen.contains(&line.source.as_str()), mutant);
            let order = match mutant {
                Mutant::OrderIsIgnored => 0,
                Mutant::GreatestOrderCounts => -line.order,
                _ => line.order,
            };
            let candidate = (level, strength, (order, outer, inner));
            best = Some(best.map_or(candidate, |best| best.min(candidate)));
        }
    }
    best.map(|(_, strength, place)| (meaning(strength, mutant), place))
}

struct Said {
    layer: In,
    is_absent: bool,
    place: (i32, usize, usize),
}

/// What applies of an action; none when it does not.
fn decided(lines: &[Line], chosen: &[&str], action: &str, mutant: Mutant) -> Option<Said> {
    if !words(ACTIONS).any(|known| known == action) && mutant != Mutant::DeletedActionsStay {
        return None;
    }
    let device = said(lines, chosen, action, In::Device, mutant).map(|said| (In::Device, said));
    let user = said(lines, chosen, action, In::User, mutant).map(|said| (In::User, said));
    let (first, second) = match mutant {
        Mutant::UserDecidesFirst => (user, device),
        _ => (device, user),
    };
    let excludes = |said: Option<(In, (u8, _))>| matches!(said, Some((_, (EXCLUDED, _))));
    if mutant == Mutant::UserExclusionBlocksDevice && excludes(user) {
        return None;
    }
    let leaves_it_open = |said: &(In, (u8, (i32, usize, usize)))| match said.1.0 {
        UNSELECTED => mutant != Mutant::UnselectedBlocksUser,
        EXCLUDED => mutant == Mutant::UserOverridesExclusion,
        _ => false,
    };
    let (layer, (says, place)) = match (first, second) {
        (Some(first), Some(second)) if leaves_it_open(&first) => second,
        (Some(first), _) => first,
        (None, second) => second?,
    };
    let is_absent = match says {
        UNINSTALL if layer == In::Device && mutant == Mutant::UninstallIsExclusion => return None,
        UNINSTALL if action == "s" && mutant != Mutant::ScriptsAreUninstalled => return None,
        UNINSTALL => true,
        APPLIES => action == "n" && mutant != Mutant::OwnStateIsIgnored,
        _ => return None,
    };
    Some(Said {
        layer,
        is_absent,
        place,
    })
}

/// A group: where it stands, its name, and its actions.
pub(super) type Named = ((i32, u8, usize, usize), String, String);

/// The groups in a line, as `show` writes them.
pub(super) fn naive(lines: &[Line], chosen: &[&str], mutant: Mutant) -> String {
    let mut groups = before_rivals(lines, chosen, mutant);
    let overruled = rivals::overruled(&groups, mutant);
    let mut seen = BTreeSet::new();
    for (_, _, shown) in &mut groups {
        let kept = words(shown).filter(|word| {
            let again = !seen.insert((*word).to_owned()) && rivals::is_about_something(word);
            let is_overruled = overruled.iter().any(|(loser, _)| loser == word);
            let is_repeat = again && mutant == Mutant::RepeatsContradictThemselves;
            !is_overruled && !is_repeat
        });
        *shown = kept.collect::<Vec<_>>().join(" ");
    }
    let groups = groups.iter().filter(|(_, _, shown)| !shown.is_empty());
    let text: Vec<_> = groups.map(|(_, name, shown)| format!("{name}[{shown}]")).collect();
    text.join(" ")
}

/// What is overruled by what, such as `l<k`.
pub(super) fn naive_overruled(lines: &[Line], chosen: &[&str], mutant: Mutant) -> BTreeSet<String> {
    let overruled = rivals::overruled(&before_rivals(lines, chosen, mutant), mutant);
    let name = |word: &str| word.trim_end_matches('-').to_owned();
    let pairs = overruled
        .iter()
        .map(|(loser, winner)| format!("{}<{}", name(loser), name(winner)));
    pairs.collect()
}

/// The groups before actions are held against each other, in order.
fn before_rivals(lines: &[Line], chosen: &[&str], mutant: Mutant) -> Vec<Named> {
    let containers = || DEFINITIONS.iter().chain(SETS).map(|(name, _)| *name);
    let strengths = |name: &str| -> Vec<(u8, i32)> {
        let of_it = lines.iter().filter(|line| line.source == name);
        let of_device = of_it.filter(|line| layer(&line.target, mutant) == Some(In::Device));
        of_device
            .map(|line| {
                let order = match mutant {
                    Mutant::OrderIsIgnored => 0,
                    Mutant::GreatestOrderCounts => -line.order,
                    _ => line.order,
                };
                (strength(line.mode, chosen.contains(&name), Mutant::None), order)
            })
            .collect()
    };
    let order_if_in_effect = |name: &str| -> Option<i32> {
        let found = strengths(name);
        let is_excluded = found.iter().any(|(strength, _)| *strength == EXCLUDED);
        if is_excluded && mutant != Mutant::ExcludedContainersAreGroups {
            return None;
        }
        let counts = |strength: u8| match strength {
            UNSELECTED => mutant == Mutant::UnselectedContainersAreGroups,
            EXCLUDED => mutant == Mutant::ExcludedContainersAreGroups,
            _ => true,
        };
        found
            .iter()
            .filter(|(strength, _)| counts(*strength))
            .map(|(_, order)| *order)
            .min()
    };
    let mut groups: Vec<Named> = Vec::new();
    let mut grouped = BTreeSet::new();
    for name in containers() {
        let excluded = strengths(name).iter().any(|(strength, _)| *strength == EXCLUDED);
        if excluded && mutant == Mutant::ExcludedContainersTakeIn {
            grouped.extend(below(name));
        }
        let Some(order) = order_if_in_effect(name) else {
            continue;
        };
        let is_definition = members(DEFINITIONS, name).is_some();
        let takes_in = |outer: &&str| {
            let names_it = members(DEFINITIONS, outer).is_some_and(|inner| inner.contains(&name));
            names_it && order_if_in_effect(outer).is_some()
        };
        if containers().any(|outer| takes_in(&outer)) && mutant != Mutant::SetsAreNotTakenIn {
            continue;
        }
        let mut shown: Vec<String> = Vec::new();
        for action in below(name) {
            let said = decided(lines, chosen, action, mutant);
            let is_here = |said: &Said| said.layer == In::Device || mutant == Mutant::UserActionsStandInGroups;
            let text = match said.filter(is_here) {
                Some(said) if said.is_absent && mutant != Mutant::GroupsForcePresence => format!("{action}-"),
                Some(_) => action.to_owned(),
                None if mutant == Mutant::GroupsKeepWhatWasDropped => action.to_owned(),
                None => continue,
            };
            grouped.insert(action);
            if mutant != Mutant::RepeatsAreDropped || !shown.contains(&text) {
                shown.push(text);
            }
        }
        if !shown.is_empty() {
            let rank = if is_definition { 0 } else { 1 };
            groups.push(((order, rank, 0, 0), name.to_owned(), shown.join(" ")));
        }
    }
    let all = words(ACTIONS).chain(["x"]);
    for action in all.filter(|action| !grouped.contains(action) || mutant == Mutant::LooseActionsRepeatWhatGroupsHave) {
        if let Some(said) = decided(lines, chosen, action, mutant) {
            let (order, outer, inner) = said.place;
            let shown = if said.is_absent {
                format!("{action}-")
            } else {
                action.to_owned()
            };
            let is_last = said.layer == In::User && mutant != Mutant::OwnersStandAmongTheDevices;
            let rank = if is_last { 3 } else { 2 };
            groups.push(((order, rank, outer, inner), action.to_owned(), shown));
        }
    }
    groups.sort();
    groups
}
