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
}

impl Dirty {
    pub(crate) fn commit(&mut self, batch: &Batch, seq: Seq) {
        for write in &batch.writes {
            let name = write.key().kind;
            match write {
                Write::Put { .. } | Write::Delete { .. } => self.kinds.insert(name),
                Write::DropLatest { .. } => self.latest.insert(name),
                Write::Check { .. } => false,
            };
        }
        self.rows(&batch.rows);
        self.feed.insert(block(seq));
        self.batches.insert(block(seq));
    }

    pub(crate) fn ingest(&mut self, ingest: &Ingest) {
        self.latest.extend(ingest.latest.iter().map(|latest| latest.key.kind));
        self.rows(&ingest.rows);
    }

    fn rows(&mut self, rows: &[(Name, Row)]) {
        self.days.extend(rows.iter().map(|(lane, row)| (*lane, day(row.at))));
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
                RecordKey::Doc(key) => drop(self.kinds.insert(key.kind)),
                RecordKey::Latest(key) => drop(self.latest.insert(key.kind)),
                RecordKey::Row(place) => drop(self.days.insert((place.lane, day(place.at)))),
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
