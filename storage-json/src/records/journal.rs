//! Lines of the journal.

use std::collections::BTreeMap;

use fleet_core::store::{Batch, Error, Expect, Ingest, Key, Latest, Move, Name, Result, Row, Schema, Standing, Write};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Body, LeaseRecord, PatchRecord};

/// A line of the journal.
#[derive(Serialize, Deserialize)]
pub(crate) struct JournalRecord<'l> {
    /// Its number; the lines of all segments are counted through.
    pub(crate) n: u64,
    /// All lines up to this one were on the disk when this one was written. So a bad line whose number is not above the
    /// `synced` of a later one was damaged, and one without such a line was never acknowledged.
    pub(crate) synced: u64,
    #[serde(borrow)]
    pub(crate) op: Operation<'l>,
}

/// What a line of the journal does.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation<'l> {
    /// A batch was committed.
    #[serde(borrow)]
    Commit(CommitRecord<'l>),
    /// An ingest was accepted.
    #[serde(borrow)]
    Ingest(IngestRecord<'l>),
    /// A lane was trimmed.
    Trim { lane: &'l str, before: i64 },
    /// The feed was compacted.
    Compact { upto: u64 },
    /// A lease changed.
    Lease(LeaseRecord),
    /// The store is for something else now.
    Standing(Standing),
    /// A filling was begun.
    Fill(Move),
    /// Records were stored and removed as they are.
    #[serde(borrow)]
    Patch(PatchRecord<'l>),
    /// The store was emptied.
    Clear {},
    /// A repair took so many lines away here.
    Lost { lines: u64 },
    /// The store was closed in order. Its `synced` says that all lines before it were acknowledged: damage of the last of them is
    /// told from an end that was torn off.
    Closed {},
}

#[derive(Serialize, Deserialize)]
pub(crate) struct CommitRecord<'l> {
    batch: Uuid,
    pub(crate) seq: u64,
    /// Where the chains that it lengthens stood before. The repair that writes a line of its own leaves it out: it cannot know.
    #[serde(borrow, default, skip_serializing_if = "BTreeMap::is_empty")]
    chains: BTreeMap<&'l str, u64>,
    #[serde(borrow)]
    writes: Vec<WriteRecord<'l>>,
    #[serde(borrow)]
    rows: Vec<LaneRowRecord<'l>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct IngestRecord<'l> {
    #[serde(borrow)]
    latest: Vec<SetRecord<'l>>,
    #[serde(borrow)]
    rows: Vec<LaneRowRecord<'l>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ExpectRecord {
    Any,
    Absent,
    Present,
    Rev(u64),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WriteRecord<'l> {
    Put {
        kind: &'l str,
        id: Uuid,
        expect: ExpectRecord,
        #[serde(borrow)]
        body: Body<'l>,
    },
    Delete {
        kind: &'l str,
        id: Uuid,
        expect: ExpectRecord,
    },
    Check {
        kind: &'l str,
        id: Uuid,
        expect: ExpectRecord,
    },
    DropLatest {
        set: &'l str,
        id: Uuid,
    },
}

#[derive(Serialize, Deserialize)]
struct LaneRowRecord<'l> {
    lane: &'l str,
    stream: Uuid,
    at: i64,
    n: u32,
    #[serde(borrow)]
    body: Body<'l>,
}

#[derive(Serialize, Deserialize)]
struct SetRecord<'l> {
    set: &'l str,
    id: Uuid,
    #[serde(borrow)]
    body: Body<'l>,
}

fn expect_record(expect: Expect) -> ExpectRecord {
    match expect {
        Expect::Any => ExpectRecord::Any,
        Expect::Absent => ExpectRecord::Absent,
        Expect::Present => ExpectRecord::Present,
        Expect::Rev(rev) => ExpectRecord::Rev(rev),
    }
}

fn expect(record: ExpectRecord) -> Expect {
    match record {
        ExpectRecord::Any => Expect::Any,
        ExpectRecord::Absent => Expect::Absent,
        ExpectRecord::Present => Expect::Present,
        ExpectRecord::Rev(rev) => Expect::Rev(rev),
    }
}

fn row_records(rows: &[(Name, Row)]) -> Vec<LaneRowRecord<'_>> {
    let record = |(lane, row): &'_ (Name, Row)| (*lane, row.stream, row.at, row.n);
    rows.iter()
        .map(|lane_row| {
            let (lane, stream, at, n) = record(lane_row);
            LaneRowRecord {
                lane,
                stream,
                at,
                n,
                body: Body::of(&lane_row.1.body),
            }
        })
        .collect()
}

fn rows(records: Vec<LaneRowRecord<'_>>, schema: &Schema) -> Result<Vec<(Name, Row)>> {
    let row = |record: LaneRowRecord<'_>| {
        let row = Row {
            stream: record.stream,
            at: record.at,
            n: record.n,
            body: record.body.bytes(),
            index: Vec::new(),
        };
        Ok((schema.lane(record.lane)?.name, row))
    };
    records.into_iter().map(row).collect()
}

impl<'l> CommitRecord<'l> {
    pub(crate) fn of(batch: &'l Batch, seq: u64, chains: &[(Name, u64)]) -> Self {
        let write = |write: &'l Write| match write {
            Write::Put { key, expect, body, .. } => WriteRecord::Put {
                kind: key.kind,
                id: key.id,
                expect: expect_record(*expect),
                body: Body::of(body),
            },
            Write::Delete { key, expect } => WriteRecord::Delete {
                kind: key.kind,
                id: key.id,
                expect: expect_record(*expect),
            },
            Write::Check { key, expect } => WriteRecord::Check {
                kind: key.kind,
                id: key.id,
                expect: expect_record(*expect),
            },
            Write::DropLatest { key } => WriteRecord::DropLatest {
                set: key.kind,
                id: key.id,
            },
        };
        Self {
            batch: batch.id,
            seq,
            chains: chains.iter().copied().collect(),
            writes: batch.writes.iter().map(write).collect(),
            rows: row_records(&batch.rows),
        }
    }

    /// Where the chains that it lengthens stood before.
    pub(crate) fn chains(&self, schema: &Schema) -> Result<Vec<(Name, u64)>> {
        let chains = self.chains.iter();
        chains
            .map(|(lane, number)| Ok((schema.lane(lane)?.name, *number)))
            .collect()
    }

    /// The batch, without index values.
    pub(crate) fn batch(self, schema: &Schema) -> Result<Batch> {
        let key = |kind: &str, id| Result::<_, Error>::Ok(Key::new(schema.kind(kind)?.name, id));
        let write = |record| {
            Ok(match record {
                WriteRecord::Put {
                    kind,
                    id,
                    expect: demand,
                    body,
                } => Write::Put {
                    key: key(kind, id)?,
                    expect: expect(demand),
                    body: body.bytes(),
                    index: Vec::new(),
                },
                WriteRecord::Delete {
                    kind,
                    id,
                    expect: demand,
                } => Write::Delete {
                    key: key(kind, id)?,
                    expect: expect(demand),
                },
                WriteRecord::Check {
                    kind,
                    id,
                    expect: demand,
                } => Write::Check {
                    key: key(kind, id)?,
                    expect: expect(demand),
                },
                WriteRecord::DropLatest { set, id } => Write::DropLatest {
                    key: Key::new(schema.latest(set)?.name, id),
                },
            })
        };
        Ok(Batch {
            id: self.batch,
            writes: self.writes.into_iter().map(write).collect::<Result<_>>()?,
            rows: rows(self.rows, schema)?,
        })
    }
}

impl<'l> IngestRecord<'l> {
    #[cfg(test)]
    pub(crate) fn of(ingest: &'l Ingest) -> Self {
        let latest = ingest.latest.iter().map(|latest| SetRecord {
            set: latest.key.kind,
            id: latest.key.id,
            body: Body::of(&latest.body),
        });
        Self {
            latest: latest.collect(),
            rows: row_records(&ingest.rows),
        }
    }

    /// The ingest, without index values.
    pub(crate) fn ingest(self, schema: &Schema) -> Result<Ingest> {
        let latest = |record: SetRecord<'_>| {
            Ok(Latest {
                key: Key::new(schema.latest(record.set)?.name, record.id),
                body: record.body.bytes(),
            })
        };
        Ok(Ingest {
            latest: self.latest.into_iter().map(latest).collect::<Result<_>>()?,
            rows: rows(self.rows, schema)?,
        })
    }
}
