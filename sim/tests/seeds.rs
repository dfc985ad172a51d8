//! A few seeds, each time. Many of them: `cargo xtask test simulation`, or `cargo run -p fleet-sim`.

#![allow(clippy::unwrap_used, reason = "tests")]

use fleet_sim::{Plan, simulate};

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 7] {
        let run = || {
            simulate(Plan {
                whole_trace: true,
                ..Plan::of(seed)
            })
            .unwrap()
        };
        let (first, second) = (run(), run());
        assert_eq!(first.trace, second.trace);
        assert_eq!(first.digest, second.digest);
        assert!(first.events > 40, "{}", first.events);
    }
}

#[test]
fn other_seeds_give_other_traces() {
    let digest = |seed| simulate(Plan::of(seed)).unwrap().digest;
    assert_ne!(digest(1), digest(2));
}

#[test]
fn what_must_hold_holds() {
    for seed in 0..8 {
        let outcome = simulate(Plan::of(seed)).unwrap();
        assert_eq!(outcome.violation, None, "seed {seed}: {:#?}", outcome.trace);
    }
}
