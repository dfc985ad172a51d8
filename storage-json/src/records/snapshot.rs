//! Lines of a snapshot.

use fleet_core::{
    kernel::Timestamp,
    store::{
        Committed, Doc, Key, Latest, Link, Name, Result, Row, Schema, StoredRow, Touched, group::Remembered,
        memory::HeldLease,
    },
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Body, digits};

/// A document of a snapshot.
#[derive(Serialize, Deserialize)]
pub(crate) struct DocRecord<'l> {
    id: Uuid,
    rev: u64,
    seq: u64,
    #[serde(borrow)]
    body: Body<'l>,
}

impl<'l> DocRecord<'l> {
    #[cfg(test)]
    pub(crate) fn of(doc: &'l Doc) -> Self {
        Self {
            id: doc.key.id,
            rev: doc.rev,
            seq: doc.seq,
            body: Body::of(&doc.body),
        }
    }

    pub(crate) fn doc(self, kind: Name) -> Doc {
        Doc {
            key: Key::new(kind, self.id),
            rev: self.rev,
            seq: self.seq,
            body: self.body.bytes(),
        }
    }
}

/// A latest value of a snapshot.
#[derive(Serialize, Deserialize)]
pub(crate) struct LatestRecord<'l> {
    id: Uuid,
    #[serde(borrow)]
    body: Body<'l>,
}

impl<'l> LatestRecord<'l> {
    #[cfg(test)]
    pub(crate) fn of(latest: &'l Latest) -> Self {
        Self {
            id: latest.key.id,
            body: Body::of(&latest.body),
        }
    }

    pub(crate) fn latest(self, set: Name) -> Latest {
        Latest {
            key: Key::new(set, self.id),
            body: self.body.bytes(),
        }
    }
}

/// A link of a chain.
#[derive(Serialize, Deserialize)]
struct LinkRecord {
    number: u64,
    #[serde(with = "digits")]
    hash: [u8; 32],
}

/// A row of a snapshot.
#[derive(Serialize, Deserialize)]
pub(crate) struct RowRecord<'l> {
    stream: Uuid,
    at: i64,
    n: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<LinkRecord>,
    #[serde(borrow)]
    body: Body<'l>,
}

impl<'l> RowRecord<'l> {
    #[cfg(test)]
    pub(crate) fn of(stored: &'l StoredRow) -> Self {
        let StoredRow { row, link } = stored;
        Self {
            stream: row.stream,
            at: row.at,
            n: row.n,
            link: link.map(|Link { number, hash }| LinkRecord { number, hash }),
            body: Body::of(&row.body),
        }
    }

    pub(crate) fn row(self) -> StoredRow {
        StoredRow {
            row: Row {
                stream: self.stream,
                at: self.at,
                n: self.n,
                body: self.body.bytes(),
                index: Vec::new(),
            },
            link: self.link.map(|LinkRecord { number, hash }| Link { number, hash }),
        }
    }
}

/// What the feed tells of a commit.
#[derive(Serialize, Deserialize)]
pub(crate) struct FeedRecord<'l> {
    pub(crate) seq: u64,
    #[serde(borrow)]
    touched: Vec<TouchedRecord<'l>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TouchedRecord<'l> {
    Document {
        kind: &'l str,
        id: Uuid,
        rev: u64,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        deleted: bool,
    },
    Stream {
        lane: &'l str,
        stream: Uuid,
    },
}

impl<'l> FeedRecord<'l> {
    pub(crate) fn of(seq: u64, touched: &'l [Touched]) -> Self {
        let record = |touched: &Touched| match touched {
            Touched::Document { key, rev, deleted } => TouchedRecord::Document {
                kind: key.kind,
                id: key.id,
                rev: *rev,
                deleted: *deleted,
            },
            Touched::Stream { lane, stream } => TouchedRecord::Stream { lane, stream: *stream },
        };
        Self {
            seq,
            touched: touched.iter().map(record).collect(),
        }
    }

    pub(crate) fn touched(self, schema: &Schema) -> Result<Vec<Touched>> {
        let touched = |record| {
            Ok(match record {
                TouchedRecord::Document { kind, id, rev, deleted } => Touched::Document {
                    key: Key::new(schema.kind(kind)?.name, id),
                    rev,
                    deleted,
                },
                TouchedRecord::Stream { lane, stream } => Touched::Stream {
                    lane: schema.lane(lane)?.name,
                    stream,
                },
            })
        };
        self.touched.into_iter().map(touched).collect()
    }
}

/// A batch that is remembered.
#[derive(Serialize, Deserialize)]
pub(crate) struct BatchRecord {
    id: Uuid,
    seq: u64,
    #[serde(with = "digits")]
    fingerprint: [u8; 16],
    revs: Vec<Option<u64>>,
}

impl BatchRecord {
    pub(crate) fn of(id: Uuid, remembered: Remembered) -> Self {
        let Remembered { fingerprint, committed } = remembered;
        Self {
            id,
            seq: committed.seq,
            fingerprint,
            revs: committed.revs,
        }
    }

    pub(crate) fn remembered(self) -> (Uuid, Remembered) {
        let remembered = Remembered {
            fingerprint: self.fingerprint,
            committed: Committed {
                seq: self.seq,
                revs: self.revs,
            },
        };
        (self.id, remembered)
    }
}

/// A lease as it stands.
#[derive(Serialize, Deserialize)]
pub(crate) struct LeaseRecord {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    fence: u64,
}

impl LeaseRecord {
    pub(crate) fn of(lease: HeldLease) -> Self {
        Self {
            name: lease.name,
            holder: lease.held.map(|(holder, _)| holder),
            until: lease.held.map(|(_, until)| until),
            fence: lease.fence,
        }
    }

    pub(crate) fn lease(self) -> HeldLease {
        HeldLease {
            name: self.name,
            held: self.holder.zip(self.until),
            fence: self.fence,
        }
    }
}
