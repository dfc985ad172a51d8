//! A patch, and what it means for the tables of a store.

use std::collections::{HashMap, HashSet};

use super::RecordKey;
use crate::store::{
    Doc, Error, Key, Latest, Link, Name, Record, Result, Row, Schema, Seq, StoredRow,
    group::{Place, PutDoc},
    limits,
};

/// Records to remove and to store, as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Where commit order stands afterwards, unless it is further already.
    pub seq: Seq,
    /// Removed first. What is not there is no error.
    pub removed: Vec<RecordKey>,
    /// Stored then, in the place of what is there. No key twice, and no [`Record::End`].
    pub records: Vec<Record>,
}

/// A patch that was checked, by table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Where commit order stands afterwards, unless it is further already.
    pub seq: Seq,
    /// Documents to remove.
    pub deletes: Vec<Key>,
    /// Latest values to remove.
    pub drops: Vec<Key>,
    /// Rows to remove.
    pub removed_rows: Vec<Place>,
    /// Documents to insert or replace.
    pub puts: Vec<PutDoc>,
    /// Latest values to insert or replace.
    pub latest: Vec<Latest>,
    /// Rows to insert or replace, with their index values.
    pub rows: Vec<(Name, StoredRow)>,
    /// The greatest link of each chained lane among the rows; a lane's head never goes back.
    pub heads: Vec<(Name, Link)>,
}

impl Patch {
    /// Records and removals of one patch.
    pub const MOST: usize = 16_384;
    /// Bytes of all bodies of one patch, but for a single record that is larger.
    pub const BYTES: usize = 1024 * 1024;

    /// Checks the records and computes their index values. [`Error::Invalid`] for a patch that is too large or names
    /// something that is not declared, [`Error::Corrupt`] for records that no store can have held.
    pub fn lay_out(self, schema: &Schema) -> Result<Layout> {
        if self.removed.len() + self.records.len() > Self::MOST {
            return Err(Error::Invalid(format!("a patch of more than {} records", Self::MOST)));
        }
        let mut layout = Layout {
            seq: self.seq,
            ..Layout::default()
        };
        for key in self.removed {
            layout.remove(schema, key)?;
        }
        let mut seen = HashSet::with_capacity(self.records.len());
        let mut heads: HashMap<Name, Link> = HashMap::new();
        for record in self.records {
            match record.key() {
                Some(key) if seen.insert(key) => layout.add(schema, record, &mut heads)?,
                Some(key) => return Err(Error::Corrupt(format!("{key} comes twice"))),
                None => return Err(Error::Invalid("a patch holds no end".to_owned())),
            }
        }
        layout.heads = heads.into_iter().collect();
        layout.heads.sort_by_key(|(lane, _)| *lane);
        Ok(layout)
    }
}

impl Layout {
    fn remove(&mut self, schema: &Schema, key: RecordKey) -> Result<()> {
        match key {
            RecordKey::Doc(key) => self.deletes.push(Key::new(schema.kind(key.kind)?.name, key.id)),
            RecordKey::Latest(key) => self.drops.push(Key::new(schema.latest(key.kind)?.name, key.id)),
            RecordKey::Row(place) => self.removed_rows.push(Place {
                lane: schema.lane(place.lane)?.name,
                ..place
            }),
        }
        Ok(())
    }

    fn add(&mut self, schema: &Schema, record: Record, heads: &mut HashMap<Name, Link>) -> Result<()> {
        let corrupt = |what: String| Err(Error::Corrupt(what));
        if record.size() > limits::BODY {
            return corrupt(format!("a body of {} bytes", record.size()));
        }
        match record {
            Record::Doc(Doc { key, rev, seq, body }) => {
                if rev == 0 || seq == 0 {
                    return corrupt(format!("{key} has no revision or no place in commit order"));
                }
                if seq > self.seq {
                    return corrupt(format!("{key} is of a commit after the end of commit order"));
                }
                let kind = schema.kind(key.kind)?;
                self.puts.push(PutDoc {
                    key: Key::new(kind.name, key.id),
                    rev,
                    seq,
                    index: kind.index(&body)?,
                    body,
                });
            }
            Record::Latest(Latest { key, body }) => self.latest.push(Latest {
                key: Key::new(schema.latest(key.kind)?.name, key.id),
                body,
            }),
            Record::Row(lane, StoredRow { row, link }) => {
                let lane = schema.lane(lane)?;
                if lane.chained != link.is_some() {
                    return corrupt(format!("a row of lane {} has a link too many or none", lane.name));
                }
                if let Some(link) = link {
                    let head = heads.entry(lane.name).or_insert(link);
                    if head.number < link.number {
                        *head = link;
                    }
                }
                let row = Row {
                    index: lane.index(&row.body)?,
                    ..row
                };
                self.rows.push((lane.name, StoredRow { row, link }));
            }
            Record::End { .. } => {}
        }
        Ok(())
    }
}
