//! What is remembered of a manifest, and what a new one makes of it. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fleet_core::{
    kernel::Timestamp,
    protocol::{RunResult, Secrets},
    work::{
        desired::{ManifestGroup, Occurrence},
        windows::HeldWindow,
    },
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What the server has compiled for this device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub version: u64,
    pub digest: String,
    pub groups: Vec<ManifestGroup>,
    pub windows: Vec<HeldWindow>,
    pub reverts: Vec<Occurrence>,
    /// What the references in it stand for. They hold what it takes to apply it while no server is there.
    #[serde(default)]
    pub secrets: Secrets,
}

impl Manifest {
    pub fn occurrences(&self) -> impl Iterator<Item = &Occurrence> {
        self.groups.iter().flat_map(|group| &group.occurrences)
    }
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// By label.
    #[serde(default)]
    pub groups: BTreeMap<String, GroupProgress>,
    /// What became of occurrences, and of what is to be taken back.
    #[serde(default)]
    pub occurrences: BTreeMap<Uuid, Last>,
    /// What of the device this agent has made, by whichever action: it was not there before.
    #[serde(default)]
    pub made: BTreeSet<String>,
    /// What was taken back, until the server knows.
    #[serde(default)]
    pub reverted: BTreeSet<Uuid>,
    /// Runs that the server does not hear of.
    #[serde(default)]
    pub unreported: u64,
}

/// When a group was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GroupProgress {
    /// Since when it is here.
    pub since: Timestamp,
    /// When it was looked at last.
    pub looked_at: Option<Timestamp>,
    /// It is new or was changed, and is looked at without waiting for its time.
    pub at_once: bool,
}

/// How an occurrence ended last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Last {
    /// When.
    pub at: Timestamp,
    /// Since when it ends so.
    pub since: Timestamp,
    pub result: RunResult,
    pub code: Option<String>,
    pub exit_code: Option<i32>,
    /// BLAKE3 of what it printed.
    pub printed: String,
    /// When the server was told of such a run.
    pub told_at: Option<Timestamp>,
}

impl Progress {
    /// Whether this agent has made what an occurrence is about, or a part of it.
    pub fn has_made(&self, occurrence: &Occurrence) -> bool {
        !self.made.is_disjoint(&occurrence.subjects)
    }

    /// This agent has made what an occurrence is about.
    pub fn note_made(&mut self, occurrence: &Occurrence) {
        self.made.extend(occurrence.subjects.iter().cloned());
    }

    /// What an occurrence is about is not there by this agent's hand.
    pub fn forget_made(&mut self, occurrence: &Occurrence) {
        self.made.retain(|subject| !occurrence.subjects.contains(subject));
    }

    /// What is remembered once this manifest has taken the place of another.
    pub fn of(&self, before: &Manifest, after: &Manifest, now: Timestamp) -> Self {
        let old: HashMap<_, _> = before.occurrences().map(|one| (one.id, one)).collect();
        let is_new = |one: &Occurrence| old.get(&one.id).is_none_or(|old| !is_same(old, one));
        let group = |group: &ManifestGroup| {
            let known = self.groups.get(&group.label);
            let at_once = group.rhythm.on_change && group.occurrences.iter().any(is_new);
            let progress = GroupProgress {
                since: known.map_or(now, |known| known.since),
                looked_at: known.and_then(|known| known.looked_at),
                at_once: at_once || known.is_some_and(|known| known.at_once),
            };
            (group.label.clone(), progress)
        };
        // How something ended says nothing of what is another by now.
        let kept = after.occurrences().filter(|one| !is_new(one)).chain(&after.reverts);
        let kept: BTreeSet<_> = kept.map(|one| one.id).collect();
        let all = after.occurrences().chain(&after.reverts);
        let subjects: BTreeSet<_> = all.flat_map(|one| &one.subjects).collect();
        let mut progress = self.clone();
        progress.groups = after.groups.iter().map(group).collect();
        progress.occurrences.retain(|id, _| kept.contains(id));
        progress.made.retain(|subject| subjects.contains(subject));
        progress
            .reverted
            .retain(|id| after.reverts.iter().any(|revert| revert.id == *id));
        progress
    }
}

fn is_same(one: &Occurrence, other: &Occurrence) -> bool {
    (&one.operation, &one.params, one.state) == (&other.operation, &other.params, other.state)
}
