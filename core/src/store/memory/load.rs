//! Builds a state from what a backend keeps on its disk: a snapshot, part by part, then the journal behind it, then the indexes.

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;

use super::{
    HeldLease, State,
    state::{Answered, Lease},
    table::{Stored, make_indexes},
    verdict::Fresh,
};
use crate::store::{
    Batch, Doc, Error, IndexedValues, Ingest, Key, Latest, Layout, Link, Move, Name, Phase, Result, Row, Schema, Seq,
    Standing, StoredRow, Touched, group::Remembered,
};

/// A state under construction.
///
/// What was accepted once is not judged again: preconditions held then, and a unique column that was declared since is judged
/// by what is there in the end ([`Load::finish`]).
#[derive(Debug)]
pub struct Load {
    state: State,
    /// Whether a part of what was stored is known to be lost.
    lossy: bool,
    /// For each chained lane: lines that were lost since it was last known where its chain stands.
    unsure: BTreeMap<Name, u64>,
}

impl Load {
    /// An empty state with this schema.
    pub fn new(schema: &Schema) -> Result<Self> {
        let mut state = State::default();
        state.prepare(schema)?;
        // Nothing is looked up while it is loaded, and entries that are put in order first cost half.
        let tables = state.kinds.values_mut();
        tables.for_each(|table| Arc::make_mut(table).put_indexes_off());
        Ok(Self {
            state,
            lossy: false,
            unsure: BTreeMap::new(),
        })
    }

    /// What the store is for. Calls that change it are journalled as what came of them.
    pub fn standing(&mut self, standing: Standing) {
        self.state.standing = standing;
    }

    /// A filling that was begun.
    pub fn fill(&mut self, from: Move) -> Result<()> {
        self.state.fill(from)
    }

    /// A patch that was stored.
    pub fn patch(&mut self, patch: Layout) -> Result<()> {
        self.state.store_layout(patch)
    }

    /// The store was emptied.
    pub fn clear(&mut self) -> Result<()> {
        self.state.clear()
    }

    /// Where the snapshot stands: its newest commit, and the newest that its feed has forgotten.
    pub fn stand(&mut self, seq: Seq, floor: Seq) {
        self.state.seq = seq;
        self.state.floor = floor;
    }

    /// A document of the snapshot, with its index values.
    pub fn doc(&mut self, doc: Doc, index: IndexedValues) -> Result<()> {
        let Doc { key, rev, seq, body } = doc;
        let stored = Stored { rev, seq, body, index };
        self.state.table_mut(key.kind)?.put(key.id, stored);
        Ok(())
    }

    /// A latest value of the snapshot.
    pub fn latest(&mut self, latest: Latest) -> Result<()> {
        let Latest { key, body } = latest;
        self.state.latest_mut(key.kind)?.insert(key.id, body);
        Ok(())
    }

    /// A row of the snapshot, with its link and its index values.
    pub fn row(&mut self, lane: Name, stored: StoredRow) -> Result<()> {
        let into = self.state.lane_mut(lane)?;
        if into.schema.chained != stored.link.is_some() {
            return Err(Error::Corrupt(format!(
                "lane {lane}: rows have links in chained lanes, and only there"
            )));
        }
        let number = |link: Option<Link>| link.map(|link| link.number);
        if number(stored.link) > number(into.head) {
            into.head = stored.link;
        }
        into.insert(stored);
        Ok(())
    }

    /// Where the chain of a lane stood in the snapshot: a repair may have gone on without its last rows.
    pub fn chain(&mut self, lane: Name, number: u64) -> Result<()> {
        self.state.lane_mut(lane)?.move_on(number);
        Ok(())
    }

    /// What the snapshot's feed tells of a commit.
    pub fn feed(&mut self, seq: Seq, touched: Vec<Touched>) {
        self.state.feed.insert(seq, touched.into());
    }

    /// A batch that the snapshot remembers.
    pub fn answered(&mut self, id: Uuid, answer: Remembered) {
        let Remembered { fingerprint, committed } = answer;
        self.state.answered.insert((committed.seq, id));
        let answered = Answered { fingerprint, committed };
        self.state.batches.insert(id, Arc::new(answered));
    }

    /// A lease as it stands.
    pub fn lease(&mut self, lease: HeldLease) {
        let HeldLease { name, held, fence } = lease;
        self.state.leases.insert(name, Lease { held, fence });
    }

    /// So many lines of the journal are lost here (0: none that is known, but something of the store is): places in commit order
    /// and in chains may be missing.
    pub fn lost(&mut self, lines: u64) {
        self.lossy = true;
        for lane in self.state.schema.lanes().filter(|lane| lane.chained) {
            *self.unsure.entry(lane.name).or_default() += lines;
        }
    }

    /// A batch that was committed at `seq`, with its index values and its fingerprint, when the chains that it lengthens stood at
    /// these numbers.
    pub fn commit(&mut self, mut batch: Batch, fingerprint: [u8; 16], seq: Seq, chains: &[(Name, u64)]) -> Result<()> {
        self.stand_in_chains(&batch, seq, chains)?;
        let fresh = self.fresh_rows(&mut batch.rows)?;
        if self.lossy && seq > self.state.seq + 1 {
            self.state.seq = seq - 1;
        }
        let was = self.state.revs(&batch)?;
        let verdict = self.state.verdict(&batch, was, fresh, fingerprint)?;
        let committed = self.state.enact(batch, verdict)?;
        if committed.seq == seq || self.lossy {
            return Ok(());
        }
        Err(Error::Corrupt(format!(
            "commit {seq} stands where {} is to follow",
            committed.seq
        )))
    }

    /// Leaves room in the chains for the rows that are lost before this batch: as many as are known to be missing, or one for
    /// each line that is lost where that is not known.
    fn stand_in_chains(&mut self, batch: &Batch, seq: Seq, chains: &[(Name, u64)]) -> Result<()> {
        for (name, number) in chains {
            let lane = self.state.lane_mut(name)?;
            if !self.lossy && lane.number() != *number {
                return Err(Error::Corrupt(format!(
                    "the chain of {name} stands at {} before commit {seq}, where it stood at {number}",
                    lane.number()
                )));
            }
            lane.move_on(*number);
            self.unsure.remove(name);
        }
        for (name, _) in &batch.rows {
            if let Some(lines) = self.unsure.remove(name) {
                let lane = self.state.lane_mut(name)?;
                lane.move_on(lane.number() + lines);
            }
        }
        Ok(())
    }

    /// An ingest that was accepted, with its index values.
    pub fn ingest(&mut self, mut ingest: Ingest) -> Result<()> {
        let fresh = self.fresh_rows(&mut ingest.rows)?;
        self.state.enact_ingest(ingest, &fresh)
    }

    /// A trim that was made.
    pub fn trim(&mut self, lane: Name, before: i64) -> Result<()> {
        self.state.trim(lane, before).map(drop)
    }

    /// A compaction that was made.
    pub fn compact(&mut self, upto: Seq) -> Result<()> {
        self.state.compact(upto).map(drop)
    }

    /// Which rows are not there yet.
    fn fresh_rows(&self, rows: &mut Vec<(Name, Row)>) -> Result<Fresh> {
        if self.lossy {
            // What is lost may have been the trim that made room for a row.
            rows.retain(|(lane, row)| {
                let there = self.state.lane(lane).ok().and_then(|lane| lane.get(row));
                there.is_none_or(|there| there.body == row.body)
            });
        }
        self.state.fresh(rows)
    }

    /// The state; [`Error::Taken`] when two documents share a value that is unique. Chains are linked over the rows that are lost,
    /// so that they hold and show the gap, but not in a store that is being filled: what it lacks comes again.
    pub fn finish(mut self) -> Result<State> {
        if self.lossy && !matches!(self.state.standing.phase, Phase::Filling(_)) {
            let chained = self.state.lanes.values_mut().filter(|lane| lane.schema.chained);
            chained.for_each(|lane| Arc::make_mut(lane).link_over_losses());
        }
        make_indexes(self.state.kinds.values_mut().map(Arc::make_mut));
        for (kind, table) in &self.state.kinds {
            if let Some((column, holder)) = table.first_clash() {
                return Err(Error::Taken {
                    column: table.schema.columns[column].name,
                    holder: Key::new(kind, holder),
                });
            }
        }
        Ok(self.state)
    }
}
