//! Which actions are about the same, and which of them applies.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{Overruling, ResolvedGroup};
use crate::work::{
    desired::{ActionId, DesiredState},
    operations::Subjects,
};

/// An action, as it is applied in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// The action.
    pub action: ActionId,
    /// The state.
    pub state: DesiredState,
    /// What it is about.
    pub subjects: Subjects,
}

/// What several actions are about. What only one is about is not in it, so that it costs a device nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    subjects: Vec<String>,
    claims: BTreeMap<(ActionId, DesiredState), Claim>,
}

/// What an action is about that others are about as well.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    rank: u64,
    /// Each by its place in the list of all, with what the action says of it: equal numbers do the same, and none shares it.
    says: Vec<(usize, Option<usize>)>,
}

/// A subject that an action has taken.
struct Taken {
    by: ActionId,
    /// How many have taken something before.
    place: usize,
    says: Option<usize>,
}

impl Claims {
    /// What these are about. `does` is asked what those do of which several are about the same: equal answers are no contradiction.
    pub fn of<T: Ord>(claimants: &[Claimant], does: impl Fn(ActionId, DesiredState) -> T) -> Self {
        let mut about: BTreeMap<&str, BTreeSet<ActionId>> = BTreeMap::new();
        for one in claimants {
            for subject in one.subjects.own.union(&one.subjects.shared) {
                about.entry(subject).or_default().insert(one.action);
            }
        }
        about.retain(|_, actions| actions.len() > 1);
        let places: BTreeMap<&str, usize> = about.keys().enumerate().map(|(at, subject)| (*subject, at)).collect();
        let mut deeds: BTreeMap<T, usize> = BTreeMap::new();
        let mut claims = BTreeMap::new();
        for one in claimants {
            let places_of = |subjects: &BTreeSet<String>| -> Vec<usize> {
                let places = subjects.iter().filter_map(|subject| places.get(subject.as_str()));
                places.copied().collect()
            };
            let (own, shared) = (places_of(&one.subjects.own), places_of(&one.subjects.shared));
            if own.is_empty() && shared.is_empty() {
                continue;
            }
            let next = deeds.len();
            let deed = *deeds.entry(does(one.action, one.state)).or_insert(next);
            let own = own.into_iter().map(|subject| (subject, Some(deed)));
            let claim = Claim {
                rank: one.subjects.rank,
                says: own.chain(shared.into_iter().map(|subject| (subject, None))).collect(),
            };
            claims.insert((one.action, one.state), claim);
        }
        Self {
            subjects: places.into_keys().map(str::to_owned).collect(),
            claims,
        }
    }
}

/// The actions that are overruled, and by what.
pub(super) fn overruled(claims: &Claims, groups: &[ResolvedGroup]) -> BTreeMap<ActionId, Overruling> {
    let mut seen = BTreeSet::new();
    let placed = groups.iter().flat_map(|group| &group.actions);
    let mut rivals: Vec<(ActionId, &Claim)> = placed
        .filter_map(|placed| Some((placed.action, claims.claims.get(&(placed.action, placed.state))?)))
        .filter(|(action, _)| seen.insert(*action))
        .collect();
    // Of one rank, the order of the groups stays.
    rivals.sort_by_key(|(_, claim)| Reverse(claim.rank));
    let mut taken: BTreeMap<usize, Taken> = BTreeMap::new();
    let mut overruled = BTreeMap::new();
    for (place, (action, claim)) in rivals.into_iter().enumerate() {
        let against = claim.says.iter().filter_map(|(subject, says)| {
            let taken = taken.get(subject).filter(|taken| taken.says != *says)?;
            Some((taken.place, *subject, taken.by))
        });
        match against.min() {
            Some((_, subject, by)) => {
                let subject = claims.subjects.get(subject).cloned().unwrap_or_default();
                overruled.insert(action, Overruling { action: by, subject });
            }
            None => {
                for (subject, says) in &claim.says {
                    let says = *says;
                    taken.entry(*subject).or_insert(Taken {
                        by: action,
                        place,
                        says,
                    });
                }
            }
        }
    }
    overruled
}
