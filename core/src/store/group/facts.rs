//! What a group needs to know about the store before it can be decided.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use uuid::Uuid;

use super::super::{
    Batch, Committed, IndexedValues, Ingest, Key, Link, Name, RecordKey, Result, Rev, Row, Schema, Seq, Value, Write,
};

/// A piece of waiting work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A commit.
    Batch(Batch),
    /// A write of the hot path.
    Ingest(Ingest),
}

impl Work {
    /// What it may change: a superset of what it does change.
    pub fn record_keys(&self) -> impl Iterator<Item = RecordKey> + '_ {
        let (batch, ingest) = match self {
            Self::Batch(batch) => (Some(batch.record_keys()), None),
            Self::Ingest(ingest) => (None, Some(ingest.record_keys())),
        };
        batch.into_iter().flatten().chain(ingest.into_iter().flatten())
    }

    fn rows(&self) -> &[(Name, Row)] {
        match self {
            Self::Batch(batch) => &batch.rows,
            Self::Ingest(ingest) => &ingest.rows,
        }
    }
}

/// Names a row of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The lane.
    pub lane: Name,
    /// The stream.
    pub stream: Uuid,
    /// Microseconds since 1970.
    pub at: i64,
    /// Tells rows of one time apart.
    pub n: u32,
}

impl Place {
    /// Where a row stands.
    pub fn of(lane: Name, row: &Row) -> Self {
        Self {
            lane,
            stream: row.stream,
            at: row.at,
            n: row.n,
        }
    }
}

/// A value of a unique column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UniqueValue {
    /// The kind.
    pub kind: Name,
    /// The column.
    pub column: Name,
    /// The value; never null.
    pub value: Value,
}

impl UniqueValue {
    /// The unique values of documents, each with the id of its document.
    pub fn wanted<'d>(
        schema: &Schema,
        documents: impl IntoIterator<Item = (Key, &'d IndexedValues)>,
    ) -> Result<Vec<(Self, Uuid)>> {
        let mut wanted = Vec::new();
        for (key, index) in documents {
            let kind = schema.kind(key.kind)?;
            for (column, values) in kind.columns.iter().zip(index) {
                if column.unique {
                    let held = values.iter().filter(|value| **value != Value::Null);
                    wanted.extend(held.map(|value| {
                        let value = Self {
                            kind: kind.name,
                            column: column.name,
                            value: value.clone(),
                        };
                        (value, key.id)
                    }));
                }
            }
        }
        Ok(wanted)
    }
}

/// A batch that was committed, as long as its id is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// What identifies its contents.
    pub fingerprint: [u8; 16],
    /// Its answer.
    pub committed: Committed,
}

/// The store, as far as a group depends on it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The newest place in commit order.
    pub seq: Seq,
    /// Revisions of the documents that are there.
    pub documents: HashMap<Key, Rev>,
    /// Who holds the unique values that are held.
    pub holders: HashMap<UniqueValue, Uuid>,
    /// Batches that are remembered.
    pub batches: HashMap<Uuid, Remembered>,
    /// Bodies of the rows that are there.
    pub rows: HashMap<Place, Bytes>,
    /// Latest values that are there.
    pub latest: HashSet<Key>,
    /// The last links of chained lanes.
    pub heads: HashMap<Name, Link>,
}

/// What must be asked of the store. Nothing appears twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Documents that are named by a write.
    pub documents: Vec<Key>,
    /// Unique values that are wanted.
    pub holders: Vec<UniqueValue>,
    /// Ids of the batches.
    pub batches: Vec<Uuid>,
    /// Places of the rows.
    pub rows: Vec<Place>,
    /// Latest values that would be dropped.
    pub latest: Vec<Key>,
}

impl Needs {
    /// What deciding `group` needs, in the order of the group. The facts `seq` and `heads` are always needed.
    pub fn of(schema: &Schema, group: &[Work]) -> Result<Self> {
        let mut needs = Self::default();
        for work in group {
            if let Work::Batch(batch) = work {
                needs.batches.push(batch.id);
                for write in &batch.writes {
                    needs.of_write(schema, write)?;
                }
            }
            needs
                .rows
                .extend(work.rows().iter().map(|(lane, row)| Place::of(lane, row)));
        }
        once(&mut needs.documents);
        once(&mut needs.holders);
        once(&mut needs.batches);
        once(&mut needs.rows);
        once(&mut needs.latest);
        Ok(needs)
    }

    fn of_write(&mut self, schema: &Schema, write: &Write) -> Result<()> {
        match write {
            Write::Put { key, index, .. } => {
                self.documents.push(*key);
                let wanted = UniqueValue::wanted(schema, [(*key, index)])?;
                self.holders.extend(wanted.into_iter().map(|(value, _)| value));
            }
            Write::Delete { key, .. } | Write::Check { key, .. } => self.documents.push(*key),
            Write::DropLatest { key } => self.latest.push(*key),
        }
        Ok(())
    }
}

/// Keeps the first of each.
fn once<T: Clone + Eq + std::hash::Hash>(items: &mut Vec<T>) {
    if items.len() > 1 {
        let mut seen = HashSet::with_capacity(items.len());
        items.retain(|item| seen.insert(item.clone()));
    }
}
