//! A view: a clone of the state.

use std::{
    collections::BTreeMap,
    ops::Bound::{self, Excluded, Unbounded},
};

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::State;
use crate::store::{
    Behind, Doc, DocPage, Filter, Find, Key, Latest, Link, Name, Patch, ReadRows, Record, RecordKey, Result, Row,
    RowPage, Seq, StoredRow, Value, View, check_filter, check_find, check_keys, check_latest, check_latest_page,
    check_places, check_records, check_rows, check_tally, group::Place,
};

/// The state at one moment.
#[derive(Clone, Debug)]
pub struct MemoryView(State);

impl State {
    /// A view of the state as it is.
    pub fn view(&self) -> MemoryView {
        MemoryView(self.clone())
    }

    /// The records after a key, in canonical order.
    pub fn records_after(&self, after: Option<RecordKey>) -> impl Iterator<Item = Record> + '_ {
        // Each part begins behind its own share of `after`: what lies before it is passed over by name, then by key.
        let docs = self.kinds.iter().flat_map(move |(kind, table)| {
            let from = range(RecordKey::behind_in_kind(after, kind));
            from.into_iter().flat_map(|from| {
                let docs = table.docs.range((from, Unbounded));
                docs.map(|(id, stored)| Record::Doc(table.named(*id, stored)))
            })
        });
        let latest = self.latest.iter().flat_map(move |(set, values)| {
            let from = range(RecordKey::behind_in_set(after, set));
            from.into_iter().flat_map(move |from| {
                values.range((from, Unbounded)).map(|(id, body)| {
                    Record::Latest(Latest {
                        key: Key::new(set, *id),
                        body: body.clone(),
                    })
                })
            })
        });
        let rows = self.lanes.iter().flat_map(move |(lane, stored)| {
            let from = range(RecordKey::behind_in_lane(after, lane));
            from.into_iter().flat_map(move |from| {
                let places = stored.places(from);
                places.filter_map(|(stream, at, n)| Some(Record::Row(lane, plain(stored.at(stream, at, n)?))))
            })
        });
        docs.chain(latest).chain(rows)
    }
}

/// As a range of an ordered map; none where nothing lies behind.
fn range<T>(behind: Behind<T>) -> Option<Bound<T>> {
    match behind {
        Behind::All => Some(Unbounded),
        Behind::After(last) => Some(Excluded(last)),
        Behind::Nothing => None,
    }
}

/// A row without its index values, as records carry it.
fn plain(stored: &StoredRow) -> StoredRow {
    StoredRow {
        row: Row {
            stream: stored.row.stream,
            at: stored.row.at,
            n: stored.row.n,
            body: stored.row.body.clone(),
            index: Vec::new(),
        },
        link: stored.link,
    }
}

#[async_trait]
impl View for MemoryView {
    fn seq(&self) -> Seq {
        self.0.seq
    }

    async fn renew(&mut self) -> Result<()> {
        // A copy of the state is in nobody's way.
        Ok(())
    }

    async fn get(&mut self, keys: &[Key]) -> Result<Vec<Option<Doc>>> {
        check_keys(&self.0.schema, keys)?;
        keys.iter().map(|key| Ok(self.0.table(key.kind)?.doc(key.id))).collect()
    }

    async fn latest(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        check_latest(&self.0.schema, keys)?;
        keys.iter()
            .map(|key| Ok(self.0.latest_of(key.kind)?.get(&key.id).cloned()))
            .collect()
    }

    async fn latest_page(&mut self, set: Name, after: Option<Uuid>, limit: usize) -> Result<Vec<Latest>> {
        check_latest_page(&self.0.schema, set, limit)?;
        let values = self
            .0
            .latest_of(set)?
            .range((after.map_or(Unbounded, Excluded), Unbounded));
        let page = values.take(limit).map(|(id, body)| Latest {
            key: Key::new(set, *id),
            body: body.clone(),
        });
        Ok(page.collect())
    }

    async fn find(&mut self, find: &Find) -> Result<DocPage> {
        check_find(&self.0.schema, find)?;
        Ok(self.0.table(find.kind)?.find(find))
    }

    async fn count(&mut self, kind: Name, filter: &Filter) -> Result<u64> {
        let declared = self.0.schema.kind(kind)?;
        check_filter(declared.name, &declared.columns, filter)?;
        Ok(self.0.table(kind)?.matching(filter).count() as u64)
    }

    async fn tally(&mut self, kind: Name, filter: &Filter, by: Name) -> Result<Vec<(Value, u64)>> {
        let (_, column) = check_tally(&self.0.schema, kind, filter, by)?;
        let mut counts: BTreeMap<&Value, u64> = BTreeMap::new();
        for stored in self.0.table(kind)?.matching(filter) {
            for value in &stored.index[column] {
                *counts.entry(value).or_default() += 1;
            }
        }
        Ok(counts
            .into_iter()
            .map(|(value, count)| (value.clone(), count))
            .collect())
    }

    async fn rows(&mut self, read: &ReadRows) -> Result<RowPage> {
        check_rows(&self.0.schema, read)?;
        Ok(self.0.lane(read.lane)?.read(read))
    }

    async fn chain_head(&mut self, lane: Name) -> Result<Option<Link>> {
        self.0.schema.lane(lane)?;
        Ok(self.0.lane(lane)?.head)
    }

    async fn records(&mut self, after: Option<RecordKey>, limit: usize) -> Result<Vec<Record>> {
        check_records(limit)?;
        let mut bytes = 0;
        let page = self.0.records_after(after).take(limit).take_while(|record| {
            let room = bytes < Patch::BYTES;
            bytes += record.size();
            room
        });
        Ok(page.collect())
    }

    async fn rows_at(&mut self, places: &[Place]) -> Result<Vec<Option<StoredRow>>> {
        check_places(&self.0.schema, places)?;
        let row = |place: &Place| {
            let row = self.0.lane(place.lane)?.at(place.stream, place.at, place.n);
            Ok(row.map(|row| plain(row)))
        };
        places.iter().map(row).collect()
    }
}
