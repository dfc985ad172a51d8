//! What a state holds, part by part: what a backend that keeps its data in memory writes to its disk.

use std::ops::RangeInclusive;

use uuid::Uuid;

use super::{
    State,
    state::{Answered, Lease},
};
use crate::{
    kernel::Timestamp,
    store::{Batch, Doc, Key, Latest, Name, Result, Seq, StoredRow, Touched, group::Remembered},
};

/// A lease that was ever taken, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// Its name.
    pub name: String,
    /// Who has it, and until when.
    pub held: Option<(Uuid, Timestamp)>,
    /// The number of its last holder; it outlives all of them.
    pub fence: u64,
}

impl HeldLease {
    pub(super) fn new(name: &str, lease: &Lease) -> Self {
        Self {
            name: name.to_owned(),
            held: lease.held,
            fence: lease.fence,
        }
    }
}

impl State {
    /// The newest commit that the feed has forgotten.
    pub fn floor(&self) -> Seq {
        self.floor
    }

    /// The documents of a kind, by id.
    pub fn docs(&self, kind: &str) -> Result<impl Iterator<Item = Doc>> {
        let table = self.table(kind)?;
        Ok(table.docs.iter().map(|(id, stored)| table.named(*id, stored)))
    }

    /// The latest values of a set, by id.
    pub fn latest_values(&self, set: Name) -> Result<impl Iterator<Item = Latest>> {
        let values = self.latest_of(set)?.iter();
        Ok(values.map(move |(id, body)| Latest {
            key: Key::new(set, *id),
            body: body.clone(),
        }))
    }

    /// The rows of a lane within these times, by time, stream and number.
    pub fn rows_within(&self, lane: &str, at: RangeInclusive<i64>) -> Result<impl Iterator<Item = &StoredRow>> {
        let places = (*at.start(), Uuid::nil(), 0)..=(*at.end(), Uuid::max(), u32::MAX);
        Ok(self.lane(lane)?.rows.range(places).map(|(_, stored)| &**stored))
    }

    /// Where the chains stand that have begun: the number of the last link of each chained lane.
    pub fn chains(&self) -> impl Iterator<Item = (Name, u64)> {
        let numbers = self.lanes.iter().map(|(name, lane)| (*name, lane.number()));
        numbers.filter(|(_, number)| *number > 0)
    }

    /// Where the chains stand that this batch lengthens, each once, by name.
    pub fn chains_of(&self, batch: &Batch) -> Vec<(Name, u64)> {
        let mut chains: Vec<(Name, u64)> = Vec::new();
        for (name, _) in &batch.rows {
            if let Ok(lane) = self.lane(name)
                && lane.schema.chained
                && !chains.iter().any(|(of, _)| of == name)
            {
                chains.push((lane.schema.name, lane.number()));
            }
        }
        chains.sort_unstable();
        chains
    }

    /// What the feed tells of these commits.
    pub fn feed_within(&self, seqs: RangeInclusive<Seq>) -> impl Iterator<Item = (Seq, &[Touched])> {
        self.feed.range(seqs).map(|(seq, touched)| (*seq, &**touched))
    }

    /// The batches that were answered with these places in commit order, by place and id.
    pub fn answered_within(&self, seqs: RangeInclusive<Seq>) -> impl Iterator<Item = (Uuid, Remembered)> {
        let places = (*seqs.start(), Uuid::nil())..=(*seqs.end(), Uuid::max());
        self.answered.range(places).filter_map(|(_, id)| {
            let Answered { fingerprint, committed } = (**self.batches.get(id)?).clone();
            Some((*id, Remembered { fingerprint, committed }))
        })
    }

    /// Whether a batch of this id is remembered.
    pub fn remembers(&self, batch: Uuid) -> bool {
        self.batches.contains_key(&batch)
    }

    /// All leases that were ever taken, by name.
    pub fn leases(&self) -> impl Iterator<Item = HeldLease> {
        self.leases.iter().map(|(name, lease)| HeldLease::new(name, lease))
    }

    /// A lease, if it was ever taken.
    pub fn lease_of(&self, name: &str) -> Option<HeldLease> {
        self.leases.get(name).map(|lease| HeldLease::new(name, lease))
    }
}
