//! Cases, each in a line; and that they notice every mistake that somebody thought of.

use super::{
    naive::{Mutant, naive},
    *,
};

/// What is assigned, what was chosen, and what applies.
const CASES: &[(&str, &str, &str)] = &[
    // One assignment.
    ("", "", ""),
    ("device required a", "", "a[a]"),
    ("g1 required S", "", "S[a b]"),
    ("g2 required D", "", "D[a b s]"),
    ("u1 required a", "", "a[a]"),
    ("g3 required a", "", ""),
    ("u3 required a", "", ""),
    ("device excluded S", "", ""),
    ("device uninstall S", "", "S[a- b-]"),
    // What is available is applied where it was chosen, by the very source that offers it.
    ("device available S", "", ""),
    ("device available S", "S", "S[a b]"),
    ("device available S", "a b", ""),
    ("device available a, g1 available S", "a", "a[a]"),
    ("u2 available T", "T", "b[b] c[c]"),
    // The more direct way decides, whatever it says.
    ("device required a, g1 excluded S", "", "a[a]"),
    ("g1 excluded a, device required S", "", "S[b]"),
    ("g1 uninstall a, device required S", "", "S[a- b]"),
    ("g1 available a, device required S", "", "S[b]"),
    ("g1 required S, device excluded D", "", "S[a b]"),
    ("g1 excluded S, device required D", "", "D[s]"),
    ("g1 required a, g2 excluded D", "", "a[a]"),
    // Equally direct ways contradict each other.
    ("g1 required a, g2 excluded a", "", ""),
    ("g1 uninstall a, g2 excluded a", "", ""),
    ("g1 uninstall a, g2 required a", "", "a[a-]"),
    ("g1 available a, g2 required a", "", "a[a]"),
    ("g1 available a, g2 uninstall a", "a", "a[a-]"),
    ("g1 required S, g2 excluded T", "", "S[a]"),
    ("g1 required S, g2 uninstall T", "", "S[a b-] T[b- c-]"),
    ("g1 available S, g2 required T", "", "T[b c]"),
    // Two groups, two owners.
    ("g1 required a, g2 required c", "", "a[a] c[c]"),
    ("u1 required a, u2 required c", "", "a[a] c[c]"),
    ("u1 required a, u2 excluded a", "", ""),
    ("u1 required a, u2 excluded S", "", "a[a]"),
    ("u1 uninstall a, u2 required a", "", "a[a-]"),
    // The device's layer before that of its owners.
    ("device excluded a, u1 required a", "", ""),
    ("g1 excluded S, u1 required a", "", ""),
    ("device uninstall a, u1 required a", "", "a[a-]"),
    ("device required a, u1 excluded a", "", "a[a]"),
    ("device required S, u1 excluded a, u2 required c", "", "S[a b] c[c]"),
    ("device available a, u1 required a", "", "a[a]"),
    ("device available a, u1 uninstall a", "a", "a[a]"),
    ("device available a, u1 excluded a", "", ""),
    ("device required S, device available a, u1 required a", "", "S[b] a[a]"),
    // Definitions take in what they name, sets what is in them; what is repeated stays so.
    ("device required D, g1 required S", "", "D[a b s]"),
    ("device required D, g1 required S, g2 required a", "", "D[a b s]"),
    ("device required E", "", "E[b c n- b c]"),
    ("device required F", "", "F[a b b c]"),
    ("device required S, g1 required T", "", "S[a b] T[b c]"),
    ("device required D, g1 required F", "", "D[a b s] F[a b b c]"),
    ("device required E, g1 excluded n", "", "E[b c b c]"),
    // What is not in effect takes nothing in.
    ("device excluded D, g1 required S", "", "S[a b]"),
    ("device available D, g1 required S", "", "S[a b]"),
    ("device available D, g1 required S", "D", "D[a b s]"),
    ("device excluded S, g1 required a", "", "a[a]"),
    ("device available S, g1 required a", "", "a[a]"),
    ("g1 required S, g2 excluded S, device required a", "", "a[a]"),
    ("g1 required S, g2 excluded S", "", ""),
    ("g1 required S, g2 uninstall S", "", "S[a- b-]"),
    ("g1 available S, g2 required S", "", "S[a b]"),
    ("u1 excluded D, device required S", "", "S[a b]"),
    // What was deleted is passed over; a set that was deleted, too.
    ("device required V", "", "V[c s]"),
    ("device required x", "", ""),
    ("device required G", "", "G[a]"),
    // Scripts know no absence; what is written for absence is applied so.
    ("device uninstall V", "", "V[c-]"),
    ("device uninstall s, u1 required s", "", ""),
    ("device required n", "", "n[n-]"),
    ("device uninstall n", "", "n[n-]"),
    // Order: by the least of those that count, then definitions, sets and single actions, then as written.
    ("device required S 5, g1 required T 1", "", "T[b c] S[a b]"),
    (
        "device required S 1, g1 required S 9, g2 required T 5",
        "",
        "S[a b] T[b c]",
    ),
    ("device required c 1, g1 required S 2", "", "c[c] S[a b]"),
    (
        "device required D 0, g1 required T 0, g2 required n 0",
        "",
        "D[a b s] T[b c] n[n-]",
    ),
    (
        "device available S 1, g1 required T 5, g2 required S 9",
        "",
        "T[b c] S[a b]",
    ),
    ("u1 required T, u1 required a", "", "a[a] b[b] c[c]"),
    ("u1 required c 1, u1 required a 2", "", "c[c] a[a]"),
    // Of those that contradict each other the first applies, in the order of the groups.
    ("device required k, g1 required l", "", "k[k]"),
    ("device required k 2, g1 required l 1", "", "l[l]"),
    ("u1 required k, u2 required l", "", "k[k]"),
    ("device required l, g1 required R", "", "R[k p]"),
    ("device required k, g1 excluded l", "", "k[k]"),
    ("device available k, g1 required l", "", "l[l]"),
    // What does the same contradicts nothing; what is taken away does something else.
    ("device required k, g1 required m", "", "k[k] m[m]"),
    ("device required k, g1 uninstall m", "", "k[k]"),
    ("device uninstall k, g1 uninstall m", "", "k[k-] m[m-]"),
    ("device uninstall k, g1 required l", "", "k[k-]"),
    ("device required m 2, g1 required l 2, u1 required k 1", "", "k[k] m[m]"),
    // Of one order, what the device has for itself goes before what its owners have.
    ("device required m, g1 required l, u1 required k", "", "l[l]"),
    ("g1 required l, u1 required k", "", "l[l]"),
    // An action does not contradict itself, however often it stands there.
    ("device required K", "", "K[l l]"),
    ("device required K, g1 excluded l", "", "K[k]"),
    ("device required R, g1 required K 1", "", "R[k p] K[k]"),
    // Of several things each counts, and what is overruled overrules nothing.
    ("device required o, g1 required p", "", "o[o]"),
    ("device required k, g1 required o, g2 required p", "", "k[k] p[p]"),
    ("device required o 1, g1 required k 2, g2 required p 3", "", "o[o]"),
    // A rank goes before the order.
    ("device required q 1, g1 required r 2", "", "r[r]"),
    ("device required p 1, g1 required q 2", "", "q[q]"),
    ("device required o 1, g1 required p 2, g2 required r 3", "", "o[o] r[r]"),
    // Parts do not contradict each other, and each of them the whole.
    ("device required v, g1 required w", "", "v[v] w[w]"),
    ("device required t, g1 required v, g2 required w", "", "t[t]"),
    ("device required t 2, g1 required v 1, g2 required w 3", "", "v[v] w[w]"),
];

#[test]
fn what_applies_follows_from_what_is_assigned() {
    for (assigned, selected, expected) in CASES {
        check(assigned, selected, expected);
    }
}

/// Cases that tell a mistaken formulation from the rules.
fn noticed_by(mutant: Mutant) -> usize {
    let differs = |(assigned, selected, expected): &&(&str, &str, &str)| {
        let chosen: Vec<_> = words(selected).collect();
        naive(&lines(assigned), &chosen, mutant) != *expected
    };
    CASES.iter().filter(differs).count()
}

#[test]
fn the_cases_notice_every_planted_mistake() {
    assert_eq!(noticed_by(Mutant::None), 0);
    let missed: Vec<_> = Mutant::ALL.iter().filter(|mutant| noticed_by(**mutant) == 0).collect();
    assert!(missed.is_empty(), "{missed:?} of {}", Mutant::ALL.len());
}

/// The steps of an action, such as `S required decides`.
#[track_caller]
fn check_why(assigned: &str, selected: &str, action: &str, reason: Reason, expected: &[(Mode, u8, Standing)]) {
    let resolution = resolved(&lines(assigned), selected);
    let decision = &resolution.decisions[&id(action)];
    let steps: Vec<_> = decision
        .steps
        .iter()
        .map(|step| (step.mode, step.level, step.standing))
        .collect();
    assert_eq!(
        (decision.reason, &steps[..]),
        (reason, expected),
        "{assigned}; chosen: {selected}"
    );
}

#[test]
fn each_way_to_an_action_says_what_it_contributes() {
    use Mode::{Available, Excluded, Required, Uninstall};
    use Standing::{Decides, LessDirect, NotSelected, OtherLayer, Outweighed};
    check_why(
        "device required a",
        "",
        "a",
        Reason::Assigned,
        &[(Required, 1, Decides)],
    );
    check_why(
        "device required a, g1 excluded S, u1 uninstall a",
        "",
        "a",
        Reason::Assigned,
        &[
            (Required, 1, Decides),
            (Excluded, 2, LessDirect),
            (Uninstall, 1, OtherLayer),
        ],
    );
    check_why(
        "g1 excluded S, g2 required T",
        "",
        "b",
        Reason::Excluded,
        &[(Excluded, 2, Decides), (Required, 2, Outweighed)],
    );
    check_why(
        "g1 available S, g2 required T",
        "",
        "b",
        Reason::Assigned,
        &[(Available, 2, NotSelected), (Required, 2, Decides)],
    );
    check_why(
        "g1 available D",
        "",
        "s",
        Reason::NotSelected,
        &[(Available, 3, Decides)],
    );
    check_why(
        "device available a, u1 required a",
        "",
        "a",
        Reason::Assigned,
        &[(Available, 1, OtherLayer), (Required, 1, Decides)],
    );
    check_why(
        "g1 uninstall V",
        "",
        "s",
        Reason::NothingToTakeAway,
        &[(Uninstall, 2, Decides)],
    );
    check_why(
        "g1 uninstall V",
        "",
        "c",
        Reason::Uninstalled,
        &[(Uninstall, 2, Decides)],
    );
}
