//! What simulations went through.

use std::collections::BTreeMap;

use fleet_core::work::State;
use serde::Serialize;

use crate::edges;

/// Counts of what was visited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Moves of runs, `from to`.
    pub run_edges: BTreeMap<String, u64>,
    /// Moves of devices between online and offline.
    pub presence_edges: BTreeMap<String, u64>,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// The states in which runs ended.
    pub ends: BTreeMap<String, u64>,
}

impl Coverage {
    /// A run moved.
    pub fn run(&mut self, from: State, to: State) {
        count(&mut self.run_edges, edges::name(from, to));
    }

    /// A device came or went.
    pub fn presence(&mut self, from: &str, to: &str) {
        count(&mut self.presence_edges, format!("{from} > {to}"));
    }

    /// A fault was injected.
    pub fn fault(&mut self, name: &str) {
        count(&mut self.faults, name.to_owned());
    }

    /// A run ended.
    pub fn end(&mut self, state: State) {
        count(&mut self.ends, state.name().to_owned());
    }

    /// Adds another simulation's.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.run_edges, &other.run_edges),
            (&mut self.presence_edges, &other.presence_edges),
            (&mut self.faults, &other.faults),
            (&mut self.ends, &other.ends),
        ] {
            for (name, number) in theirs {
                *mine.entry(name.clone()).or_default() += number;
            }
        }
    }
}

fn count(map: &mut BTreeMap<String, u64>, name: String) {
    *map.entry(name).or_default() += 1;
}
