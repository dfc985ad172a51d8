//! A patch in a line of the journal.

#[cfg(test)]
use fleet_core::store::Error;
use fleet_core::store::{Key, Name, Patch, Record, RecordKey, Result, Schema, group::Place};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DocRecord, LatestRecord, RowRecord};

/// Records that were stored and removed as they are.
#[derive(Serialize, Deserialize)]
pub(crate) struct PatchRecord<'l> {
    pub(crate) seq: u64,
    #[serde(borrow)]
    removed: Vec<KeyRecord<'l>>,
    #[serde(borrow)]
    records: Vec<Whole<'l>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeyRecord<'l> {
    Doc {
        kind: &'l str,
        id: Uuid,
    },
    Latest {
        set: &'l str,
        id: Uuid,
    },
    Row {
        lane: &'l str,
        stream: Uuid,
        at: i64,
        n: u32,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Whole<'l> {
    Doc {
        kind: &'l str,
        #[serde(borrow)]
        doc: DocRecord<'l>,
    },
    Latest {
        set: &'l str,
        #[serde(borrow)]
        latest: LatestRecord<'l>,
    },
    Row {
        lane: &'l str,
        #[serde(borrow)]
        row: RowRecord<'l>,
    },
}

impl<'l> PatchRecord<'l> {
    #[cfg(test)]
    /// Fails for an end, which is no part of a patch.
    pub(crate) fn of(patch: &'l Patch) -> Result<Self> {
        let key = |key: &RecordKey| match *key {
            RecordKey::Doc(Key { kind, id }) => KeyRecord::Doc { kind, id },
            RecordKey::Latest(Key { kind: set, id }) => KeyRecord::Latest { set, id },
            RecordKey::Row(Place { lane, stream, at, n }) => KeyRecord::Row { lane, stream, at, n },
        };
        let whole = |record: &'l Record| {
            Ok(match record {
                Record::Doc(doc) => Whole::Doc {
                    kind: doc.key.kind,
                    doc: DocRecord::of(doc),
                },
                Record::Latest(latest) => Whole::Latest {
                    set: latest.key.kind,
                    latest: LatestRecord::of(latest),
                },
                Record::Row(lane, row) => Whole::Row {
                    lane,
                    row: RowRecord::of(row),
                },
                Record::End { .. } => return Err(Error::Invalid("a patch holds no end".to_owned())),
            })
        };
        Ok(Self {
            seq: patch.seq,
            removed: patch.removed.iter().map(key).collect(),
            records: patch.records.iter().map(whole).collect::<Result<_>>()?,
        })
    }

    pub(crate) fn patch(self, schema: &Schema) -> Result<Patch> {
        let kind = |name: &str| Result::<Name>::Ok(schema.kind(name)?.name);
        let set = |name: &str| Result::<Name>::Ok(schema.latest(name)?.name);
        let lane = |name: &str| Result::<Name>::Ok(schema.lane(name)?.name);
        let key = |record| {
            Ok(match record {
                KeyRecord::Doc { kind: name, id } => RecordKey::Doc(Key::new(kind(name)?, id)),
                KeyRecord::Latest { set: name, id } => RecordKey::Latest(Key::new(set(name)?, id)),
                KeyRecord::Row {
                    lane: name,
                    stream,
                    at,
                    n,
                } => RecordKey::Row(Place {
                    lane: lane(name)?,
                    stream,
                    at,
                    n,
                }),
            })
        };
        let whole = |record| {
            Ok(match record {
                Whole::Doc { kind: name, doc } => Record::Doc(DocRecord::doc(doc, kind(name)?)),
                Whole::Latest { set: name, latest } => Record::Latest(LatestRecord::latest(latest, set(name)?)),
                Whole::Row { lane: name, row } => Record::Row(lane(name)?, row.row()),
            })
        };
        Ok(Patch {
            seq: self.seq,
            removed: self.removed.into_iter().map(key).collect::<Result<_>>()?,
            records: self.records.into_iter().map(whole).collect::<Result<_>>()?,
        })
    }
}
