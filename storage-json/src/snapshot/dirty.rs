//! Which parts of the snapshot differ from the state.

use std::collections::BTreeSet;

use fleet_core::store::{Batch, Ingest, Name, Patch, Record, RecordKey, Row, Seq, Write};

use crate::{
    layout::{Part, block, day},
    manifest::Manifest,
};

/// The parts that were written to since they were last stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dirty {
    kinds: BTreeSet<Name>,
    latest: BTreeSet<Name>,
    days: BTreeSet<(Name, i64)>,
    feed: BTreeSet<u64>,
    batches: BTreeSet<u64>,
    leases: bool,
    others: BTreeSet<Part>,
    /// What was added last: most calls are about the same as the one before.
    recent: Recent,
}

#[derive(Clone, Debug, Default)]
struct Recent {
    kind: Option<Name>,
    latest: Option<Name>,
    days: [Option<(Name, i64)>; 2],
    block: Option<u64>,
}

impl Dirty {
    pub(crate) fn commit(&mut self, batch: &Batch, seq: Seq) {
        for write in &batch.writes {
            let name = write.key().kind;
            match write {
                Write::Put { .. } | Write::Delete { .. } => self.kind(name),
                Write::DropLatest { .. } => self.set(name),
                Write::Check { .. } => {}
            }
        }
        self.rows(&batch.rows);
        if self.recent.block.replace(block(seq)) != Some(block(seq)) {
            self.feed.insert(block(seq));
            self.batches.insert(block(seq));
        }
    }

    fn kind(&mut self, name: Name) {
        if self.recent.kind.replace(name) != Some(name) {
            self.kinds.insert(name);
        }
    }

    fn set(&mut self, name: Name) {
        if self.recent.latest.replace(name) != Some(name) {
            self.latest.insert(name);
        }
    }

    fn row(&mut self, lane: Name, at: i64) {
        let day = Some((lane, day(at)));
        if !self.recent.days.contains(&day) {
            self.days.extend(day);
            self.recent.days = [day, self.recent.days[0]];
        }
    }

    pub(crate) fn ingest(&mut self, ingest: &Ingest) {
        ingest.latest.iter().for_each(|latest| self.set(latest.key.kind));
        self.rows(&ingest.rows);
    }

    fn rows(&mut self, rows: &[(Name, Row)]) {
        rows.iter().for_each(|(lane, row)| self.row(lane, row.at));
    }

    /// The stored days that lie before a time, or begin before it.
    pub(crate) fn trim(&mut self, lane: Name, before: i64, manifest: &Manifest) {
        let cut = |part: &&Part| matches!(part, Part::Rows { lane: of, day: at } if of == lane && *at <= day(before));
        let parts = manifest.files.iter().map(|listed| &listed.part);
        self.others.extend(parts.filter(cut).cloned());
    }

    pub(crate) fn compact(&mut self, upto: Seq, manifest: &Manifest) {
        let cut = |part: &&Part| matches!(part, Part::Feed(at) | Part::Batches(at) if *at <= block(upto));
        let parts = manifest.files.iter().map(|listed| &listed.part);
        self.others.extend(parts.filter(cut).cloned());
    }

    /// The stored feed, batches and leases.
    pub(crate) fn history(&mut self, manifest: &Manifest) {
        let history = |part: &&Part| matches!(part, Part::Feed(_) | Part::Batches(_));
        let parts = manifest.files.iter().map(|listed| &listed.part);
        self.others.extend(parts.filter(history).cloned());
        self.leases = true;
    }

    /// Everything that is stored.
    pub(crate) fn everything(&mut self, manifest: &Manifest) {
        self.others
            .extend(manifest.files.iter().map(|listed| listed.part.clone()));
        self.leases = true;
    }

    pub(crate) fn patch(&mut self, patch: &Patch) {
        let keys = patch.records.iter().filter_map(Record::key);
        for key in keys.chain(patch.removed.iter().copied()) {
            match key {
                RecordKey::Doc(key) => self.kind(key.kind),
                RecordKey::Latest(key) => self.set(key.kind),
                RecordKey::Row(place) => self.row(place.lane, place.at),
            }
        }
    }

    pub(crate) fn lease(&mut self) {
        self.leases = true;
    }

    /// Takes over what another has.
    pub(crate) fn merge(&mut self, other: Self) {
        self.kinds.extend(other.kinds);
        self.latest.extend(other.latest);
        self.days.extend(other.days);
        self.feed.extend(other.feed);
        self.batches.extend(other.batches);
        self.leases |= other.leases;
        self.others.extend(other.others);
    }

    /// The parts, each once.
    pub(crate) fn parts(&self) -> BTreeSet<Part> {
        let mut parts = self.others.clone();
        parts.extend(self.kinds.iter().map(|kind| Part::Kind((*kind).to_owned())));
        parts.extend(self.latest.iter().map(|set| Part::Latest((*set).to_owned())));
        parts.extend(self.days.iter().map(|(lane, day)| Part::Rows {
            lane: (*lane).to_owned(),
            day: *day,
        }));
        parts.extend(self.feed.iter().map(|block| Part::Feed(*block)));
        parts.extend(self.batches.iter().map(|block| Part::Batches(*block)));
        parts.extend(self.leases.then_some(Part::Leases));
        parts
    }
}
