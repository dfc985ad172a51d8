//! Actions that contradict each other: the rule once more, from its words, and who is said to overrule whom.

use super::{
    naive::{Mutant, Named},
    *,
};

/// What is overruled by what, such as `l<k`.
pub(super) fn shown_overruled(resolution: &Resolution) -> BTreeSet<String> {
    let decisions = resolution.decisions.iter();
    let overruled = decisions.filter_map(|(action, decision)| Some((action, decision.overruled_by.as_ref()?)));
    overruled
        .map(|(action, by)| format!("{}<{}", name(*action), name(by.action)))
        .collect()
}

/// What there is to be said of an action, as it stands in a group: `k`, or `k-` where it is taken away.
fn about(word: &str) -> Option<&'static About> {
    ABOUT.iter().find(|about| about.0 == word.trim_end_matches('-'))
}

pub(super) fn is_about_something(word: &str) -> bool {
    about(word).is_some()
}

fn contradict(first: &str, second: &str, mutant: Mutant) -> bool {
    let (Some(one), Some(other)) = (about(first), about(second)) else {
        return false;
    };
    if one.0 == other.0 {
        return false;
    }
    let are_alike = first.ends_with('-') == second.ends_with('-') || mutant == Mutant::StatesDoTheSame;
    let does_the_same = one.3 == other.3 && are_alike && mutant != Mutant::EqualParametersContradict;
    let has = |subjects: &str, subject: &str| words(subjects).any(|known| known == subject);
    let part_against_whole = match mutant {
        Mutant::PartsContradictNothing => false,
        Mutant::TheWholeYieldsToNoPart => words(one.1).any(|whole| has(other.2, whole)),
        _ => words(one.1).any(|whole| has(other.2, whole)) || words(other.1).any(|whole| has(one.2, whole)),
    };
    let part_against_part = mutant == Mutant::PartsContradictEachOther && words(one.2).any(|whole| has(other.2, whole));
    let same = match mutant {
        Mutant::AllSubjectsHaveToBeTaken => words(other.1).all(|subject| has(one.1, subject)),
        _ => words(one.1).any(|subject| has(other.1, subject)),
    };
    (same && !does_the_same) || part_against_whole || part_against_part
}

/// Whether the first of two actions goes before the second, by where they stand.
fn goes_before(first: (usize, &str), second: (usize, &str), mutant: Mutant) -> bool {
    let rank = |word: &str| about(word).map_or(0, |about| about.4);
    let (one, other) = match mutant {
        Mutant::RanksAreIgnored => (0, 0),
        Mutant::TheLowestRankApplies => (rank(second.1), rank(first.1)),
        _ => (rank(first.1), rank(second.1)),
    };
    match mutant {
        Mutant::TheLastApplies => one > other || (one == other && first.0 > second.0),
        _ => one > other || (one == other && first.0 < second.0),
    }
}

/// By what an action is overruled: by one that goes before it, contradicts it, and is overruled by nothing itself.
fn overruled_by<'n>(at: (usize, &'n str), all: &[(usize, &'n str)], mutant: Mutant) -> Option<&'n str> {
    let mut winner: Option<(usize, &str)> = None;
    for other in all.iter().copied() {
        let overrules = goes_before(other, at, mutant)
            && contradict(other.1, at.1, mutant)
            && (mutant == Mutant::TheOverruledOverrule || overruled_by(other, all, mutant).is_none());
        if overrules && winner.is_none_or(|winner| goes_before(other, winner, mutant)) {
            winner = Some(other);
        }
    }
    winner.map(|(_, name)| name)
}

/// Each that is overruled, and by what.
pub(super) fn overruled(groups: &[Named], mutant: Mutant) -> Vec<(String, String)> {
    if mutant == Mutant::ContradictionsStay {
        return Vec::new();
    }
    let mut all: Vec<(usize, &str)> = Vec::new();
    for word in groups.iter().flat_map(|(_, _, shown)| words(shown)) {
        if !all.iter().any(|(_, known)| *known == word) {
            all.push((all.len(), word));
        }
    }
    let overruled = all
        .iter()
        .filter_map(|one| Some((one.1.to_owned(), overruled_by(*one, &all, mutant)?.to_owned())));
    overruled.collect()
}

/// Who is overruled by whom, and about what.
#[track_caller]
fn check_overruled(assigned: &str, expected: &[(&str, &str, &str)]) {
    let resolution = resolved(&lines(assigned), "");
    check_explained(&resolution);
    let decisions = resolution.decisions.iter();
    let found = decisions.filter_map(|(action, decision)| {
        let by = decision.overruled_by.as_ref()?;
        assert_eq!(
            (decision.outcome, decision.reason),
            (Outcome::NotApplied, Reason::Overruled)
        );
        Some((name(*action), name(by.action), by.subject.clone()))
    });
    let expected = expected
        .iter()
        .map(|(loser, winner, subject)| ((*loser).into(), (*winner).into(), (*subject).into()));
    assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{assigned}");
}

#[test]
fn what_is_overruled_says_by_what_and_about_what() {
    check_overruled("device required k, g1 required l", &[("l", "k", "X")]);
    check_overruled("device required k 2, g1 required l 1", &[("k", "l", "X")]);
    check_overruled("device required k, g1 required m", &[]);
    // By the one that goes before all others that contradict it.
    check_overruled(
        "device required k 1, g1 required m 2, g2 required l 3",
        &[("l", "k", "X")],
    );
    check_overruled(
        "device required q 1, g1 required k 2, g2 required p 3, u1 required o 4",
        &[("o", "k", "X"), ("p", "q", "Z")],
    );
    check_overruled("device required t, g1 required v", &[("v", "t", "W")]);
    // One that another assignment keeps from applying contradicts nothing.
    check_overruled("device required k, g1 excluded k, g2 required l", &[]);
}

#[test]
fn what_only_one_action_is_about_is_not_looked_at() {
    let of = |about: &[(&str, &str)]| {
        let claimant = |(action, own): &(&str, &str)| Claimant {
            action: id(action),
            state: DesiredState::Present,
            subjects: Subjects {
                own: words(own).map(str::to_owned).collect(),
                ..Subjects::default()
            },
        };
        Claims::of(&about.iter().map(claimant).collect::<Vec<_>>(), |action, _| {
            assert_ne!(name(action), "a", "nobody asks what it does");
        })
    };
    assert_eq!(of(&[]), Claims::default());
    assert_eq!(of(&[("a", "X"), ("b", ""), ("c", "Y")]), Claims::default());
    assert_ne!(of(&[("a", "X"), ("b", "Y"), ("c", "Y")]), Claims::default());
}
