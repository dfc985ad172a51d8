//! Every pair of a way and another, of all levels and modes.

use super::*;

/// How an action may be assigned, and what that comes to when nothing else is: `+` present, `-` absent, `.` nothing, `?` nothing and
/// open to others.
const WAYS: [(&str, bool, char); 5] = [
    ("excluded", false, '.'),
    ("uninstall", false, '-'),
    ("required", false, '+'),
    ("available", true, '+'),
    ("available", false, '?'),
];

/// Sources of each level, two apart from the action itself: what was chosen of one is not of the other.
const SOURCES: [[&str; 2]; 3] = [["a", "a"], ["P", "Q"], ["Y", "Z"]];

/// What comes of the action, whatever group it stands in.
fn outcome(assigned: &str, selected: &str) -> char {
    let resolution = resolved(&lines(assigned), selected);
    check_explained(&resolution);
    match resolution.decisions[&id("a")].outcome {
        Outcome::Present => '+',
        Outcome::Absent => '-',
        Outcome::NotApplied => '.',
    }
}

/// Assigns the action in two ways, and asks `expected` what comes of their levels and places in [`WAYS`].
fn check_pairs(targets: [&str; 2], expected: impl Fn((usize, usize), (usize, usize)) -> char) -> usize {
    let mut checked = 0;
    let all = || (0..SOURCES.len()).flat_map(|level| (0..WAYS.len()).map(move |way| (level, way)));
    for first in all() {
        for second in all() {
            let sources = [SOURCES[first.0][0], SOURCES[second.0][1]];
            let ways = [WAYS[first.1], WAYS[second.1]];
            // One source is chosen or not.
            if sources[0] == sources[1] && ways[0].1 != ways[1].1 && ways[0].0 == ways[1].0 {
                continue;
            }
            let chosen: Vec<_> = (0..2).filter(|at| ways[*at].1).map(|at| sources[at]).collect();
            let assigned = format!(
                "{} {} {}, {} {} {}",
                targets[0], ways[0].0, sources[0], targets[1], ways[1].0, sources[1]
            );
            let expected = expected(first, second);
            let expected = if expected == '?' { '.' } else { expected };
            assert_eq!(
                outcome(&assigned, &chosen.join(" ")),
                expected,
                "{assigned}; {chosen:?}"
            );
            checked += 1;
        }
    }
    checked
}

#[test]
fn of_two_ways_in_one_layer_the_more_direct_decides_and_of_equals_the_stronger() {
    let one_layer = |(level, way): (usize, usize), (other_level, other): (usize, usize)| {
        let decides = match level.cmp(&other_level) {
            std::cmp::Ordering::Less => way,
            std::cmp::Ordering::Greater => other,
            std::cmp::Ordering::Equal => way.min(other),
        };
        WAYS[decides].2
    };
    for targets in [["device", "g1"], ["g1", "g2"], ["g2", "device"], ["u1", "u2"]] {
        assert_eq!(check_pairs(targets, one_layer), 223);
    }
}

#[test]
fn of_two_ways_in_two_layers_the_device_decides_unless_it_leaves_it_open() {
    let two_layers = |(_, way): (usize, usize), (_, other): (usize, usize)| match WAYS[way].2 {
        '?' => WAYS[other].2,
        decided => decided,
    };
    for targets in [["device", "u1"], ["g1", "u2"]] {
        assert_eq!(check_pairs(targets, two_layers), 223);
    }
}
