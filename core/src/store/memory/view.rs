//! A view: a clone of the state.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use uuid::Uuid;

use super::State;
use crate::store::{
    Doc, DocPage, ExportDigest, Filter, Find, Key, Latest, Link, Name, ReadRows, Record, Result, RowPage, Seq, Value,
    View, check_filter, check_find, check_keys, check_latest, check_latest_page, check_rows, check_tally,
};

/// The state at one moment.
#[derive(Clone, Debug)]
pub struct MemoryView(State);

impl State {
    /// A view of the state as it is.
    pub fn view(&self) -> MemoryView {
        MemoryView(self.clone())
    }

    /// All records of an export but its end, in their order.
    pub fn records(self) -> impl Iterator<Item = Record> + Send + 'static {
        let docs = self.kinds.into_values().flat_map(|table| {
            let docs = table.docs.clone();
            docs.into_iter()
                .map(move |(id, stored)| Record::Doc(table.named(id, &stored)))
        });
        let latest = self.latest.into_iter().flat_map(|(set, values)| {
            values.into_iter().map(move |(id, body)| {
                Record::Latest(Latest {
                    key: Key::new(set, id),
                    body,
                })
            })
        });
        let rows = self.lanes.into_iter().flat_map(|(lane, stored)| {
            stored
                .streams
                .into_iter()
                .map(move |(_, row)| Record::Row(lane, (*row).clone()))
        });
        docs.chain(latest).chain(rows)
    }
}

#[async_trait]
impl View for MemoryView {
    fn seq(&self) -> Seq {
        self.0.seq
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
        use std::ops::Bound::{Excluded, Unbounded};
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

    fn export(self: Box<Self>) -> BoxStream<'static, Result<Record>> {
        let seq = self.0.seq;
        let mut records = self.0.records();
        let mut digest = Some(ExportDigest::default());
        let all = std::iter::from_fn(move || match records.next() {
            Some(record) => {
                digest.as_mut()?.add(&record);
                Some(Ok(record))
            }
            None => Some(Ok(digest.take()?.end(seq))),
        });
        stream::iter(all).boxed()
    }
}
