//! Commits of this process, which the feed tells of once more.

use std::collections::HashSet;

use crate::{store::Rev, work::RunId};

/// Writes that are remembered, twice as many just before the older half is forgotten. Of a write that is forgotten the feed is
/// heard, which costs a reading.
const CAPACITY: usize = 50_000;

/// Writes of runs by this process that the feed has not told of yet.
#[derive(Debug, Default)]
pub(super) struct OwnCommits {
    young: HashSet<(RunId, Rev)>,
    old: HashSet<(RunId, Rev)>,
}

impl OwnCommits {
    /// A write was committed, and who has to has heard of it.
    pub(super) fn add(&mut self, run: RunId, rev: Rev) {
        if self.young.len() >= CAPACITY {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert((run, rev));
    }

    /// Whether it is one of ours; it is forgotten by this.
    pub(super) fn take(&mut self, run: RunId, rev: Rev) -> bool {
        self.young.remove(&(run, rev)) || self.old.remove(&(run, rev))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{SeededRandom, Timestamp};

    #[test]
    fn a_write_is_told_apart_by_its_revision_and_known_once() {
        let run = RunId::new(Timestamp::from_seconds(1), &SeededRandom::new(1));
        let mut commits = OwnCommits::default();
        commits.add(run, 1);
        assert_eq!([2, 1, 1].map(|rev| commits.take(run, rev)), [false, true, false]);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_stay() {
        let (now, random) = (Timestamp::from_seconds(1), SeededRandom::new(1));
        let mut commits = OwnCommits::default();
        let runs: Vec<_> = (0..3 * CAPACITY).map(|_| RunId::new(now, &random)).collect();
        runs.iter().for_each(|run| commits.add(*run, 1));
        assert!(commits.len() <= 2 * CAPACITY);
        assert!(!commits.take(runs[0], 1) && commits.take(runs[runs.len() - 1], 1));
    }
}
