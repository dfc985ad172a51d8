//! Builds a state from the records of an export.

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;

use super::{State, table::Stored};
use crate::store::{
    Doc, Error, ExportDigest, Key, Latest, Link, Name, Record, Result, Row, Seq, StoredRow, verify_chain,
};

/// Where a record stands in the order of an export: documents, latest values, rows; then by name, id, time and number.
type Place = (u8, Name, Uuid, i64, u32);

/// An import under way. Nothing of it is seen before [`Import::finish`] has compared the digest.
#[derive(Debug)]
pub struct Import {
    state: State,
    digest: ExportDigest,
    last: Option<Place>,
    /// The newest commit that a document names.
    newest: Seq,
    /// The rows of the chained lanes by number.
    chains: BTreeMap<Name, BTreeMap<u64, StoredRow>>,
    end: Option<Record>,
}

impl Import {
    /// Begins an import into an empty store; [`Error::Refused`] when it is not empty.
    pub fn into(empty: &State) -> Result<Self> {
        if !empty.is_empty() {
            return Err(Error::Refused("an import needs an empty store".to_owned()));
        }
        let mut state = empty.clone();
        // Batches that changed nothing: their ids say nothing about what is imported.
        state.batches.clear();
        state.answered.clear();
        Ok(Self {
            state,
            digest: ExportDigest::default(),
            last: None,
            newest: 0,
            chains: BTreeMap::new(),
            end: None,
        })
    }

    /// Takes the next record.
    pub fn add(&mut self, record: Record) -> Result<()> {
        if self.end.is_some() {
            return Err(corrupt("a record follows the end"));
        }
        if let Some(place) = place(&record) {
            if self.last.is_some_and(|last| last >= place) {
                return Err(corrupt("records are out of order"));
            }
            self.last = Some(place);
        }
        self.digest.add(&record);
        match record {
            Record::Doc(doc) => self.add_doc(doc),
            Record::Latest(Latest { key, body }) => {
                self.state.latest_mut(key.kind)?.insert(key.id, body);
                Ok(())
            }
            Record::Row(lane, stored) => self.add_row(lane, stored),
            Record::End { .. } => {
                self.end = Some(record);
                Ok(())
            }
        }
    }

    fn add_doc(&mut self, doc: Doc) -> Result<()> {
        if doc.rev == 0 || doc.seq == 0 {
            return Err(corrupt("a document without a revision or a place in commit order"));
        }
        self.newest = self.newest.max(doc.seq);
        let table = self.state.table_mut(doc.key.kind)?;
        let index = Arc::new(table.schema.index(&doc.body)?);
        if let Some((column, holder)) = table.clash(doc.key.id, &index) {
            return Err(Error::Taken {
                column: table.schema.columns[column].name,
                holder: Key::new(doc.key.kind, holder),
            });
        }
        let stored = Stored {
            rev: doc.rev,
            seq: doc.seq,
            body: doc.body,
            index,
        };
        table.put(doc.key.id, stored);
        Ok(())
    }

    fn add_row(&mut self, lane: Name, stored: StoredRow) -> Result<()> {
        let into = self.state.lane_mut(lane)?;
        let index = into.schema.index(&stored.row.body)?;
        let stored = StoredRow {
            row: Row { index, ..stored.row },
            link: stored.link,
        };
        match (into.schema.chained, stored.link) {
            (true, Some(Link { number, .. })) => {
                if self
                    .chains
                    .entry(lane)
                    .or_default()
                    .insert(number, stored.clone())
                    .is_some()
                {
                    return Err(corrupt("two rows have one place in a chain"));
                }
            }
            (false, None) => {}
            _ => return Err(corrupt("rows have links in chained lanes, and only there")),
        }
        into.insert(stored);
        Ok(())
    }

    /// Compares with the end of the export; returns the filled state and its own end.
    pub fn finish(mut self) -> Result<(State, Record)> {
        let Some(Record::End { seq, count, digest }) = self.end else {
            return Err(corrupt("the end is missing"));
        };
        let own = self.digest.end(seq);
        if own != (Record::End { seq, count, digest }) {
            return Err(corrupt("the records do not add up to the digest at their end"));
        }
        if self.newest > seq {
            return Err(corrupt("a document is newer than the end"));
        }
        for (lane, rows) in &self.chains {
            let head = verify_chain(None, rows.values().map(|stored| (&stored.row, stored.link)));
            self.state.lane_mut(lane)?.head =
                head.map_err(|problem| Error::Corrupt(format!("lane {lane}: {problem}")))?;
        }
        self.state.seq = seq;
        self.state.floor = seq;
        Ok((self.state, own))
    }
}

fn place(record: &Record) -> Option<Place> {
    Some(match record {
        Record::Doc(doc) => (0, doc.key.kind, doc.key.id, 0, 0),
        Record::Latest(latest) => (1, latest.key.kind, latest.key.id, 0, 0),
        Record::Row(lane, stored) => (2, *lane, stored.row.stream, stored.row.at, stored.row.n),
        Record::End { .. } => return None,
    })
}

fn corrupt(problem: &str) -> Error {
    Error::Corrupt(problem.to_owned())
}
