//! A view that can be broken.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use fleet_core::store::{
    Backend, Cursor, Direction, Doc, DocPage, Error, Filter, Find, Key, Latest, Link, Name, ReadRows, Record,
    RecordKey, Result, RowPage, Seq, StoredRow, Value, View, group::Place, memory::MemoryStore,
};
use fleet_storage_conformance::async_trait;

use uuid::Uuid;

use crate::{Fault, store::lock};

pub struct BrokenView {
    pub fault: Fault,
    pub store: Arc<MemoryStore>,
    pub view: Box<dyn View>,
    pub offsets: Arc<Mutex<HashMap<Uuid, usize>>>,
}

impl BrokenView {
    async fn refresh(&mut self) -> Result<()> {
        if self.fault == Fault::MovingView {
            self.view = self.store.view().await?;
        }
        Ok(())
    }

    fn filter(&self, filter: &Filter) -> Filter {
        let inner = |filter: &Filter| self.filter(filter);
        match (self.fault, filter) {
            (_, Filter::And(parts)) => Filter::And(parts.iter().map(inner).collect()),
            (Fault::OrOfThreeLosesOne, Filter::Or(parts)) if parts.len() > 1 => {
                Filter::Or(parts[1..].iter().map(inner).collect())
            }
            (_, Filter::Or(parts)) => Filter::Or(parts.iter().map(inner).collect()),
            (Fault::NotOfThreeValues, Filter::Not(part)) => {
                let known = columns(part)
                    .into_iter()
                    .map(|name| Filter::Not(Box::new(Filter::Eq(name, Value::Null))));
                Filter::And(known.chain([Filter::Not(part.clone())]).collect())
            }
            (_, Filter::Not(part)) => Filter::Not(Box::new(self.filter(part))),
            (Fault::CaseInsensitive, Filter::Eq(name, Value::Text(text))) => {
                let spellings = [text.clone(), text.to_lowercase(), text.to_uppercase()];
                Filter::In(name, spellings.map(Value::Text).to_vec())
            }
            (Fault::PrefixAsPattern, Filter::Prefix(name, prefix)) => {
                let plain = prefix.split(['%', '_']).next().unwrap_or_default();
                Filter::Prefix(name, plain.to_owned())
            }
            (Fault::RangeWithItsEnd, Filter::Range(name, _, Some(to))) => {
                Filter::Or(vec![filter.clone(), Filter::Eq(name, to.clone())])
            }
            (Fault::InOfOneValue, Filter::In(name, values)) => {
                Filter::In(name, values.iter().take(1).cloned().collect())
            }
            _ => filter.clone(),
        }
    }

    /// A page by counting, as with LIMIT and OFFSET.
    async fn page_by_offset(&mut self, find: &Find) -> Result<DocPage> {
        let offset = find
            .after
            .as_ref()
            .and_then(|after| lock(&self.offsets).get(&after.id).copied());
        let everything = Find {
            after: None,
            limit: 10_000,
            ..find.clone()
        };
        let docs = self.view.find(&everything).await?.docs;
        let page: Vec<Doc> = docs
            .iter()
            .skip(offset.unwrap_or(0))
            .take(find.limit)
            .cloned()
            .collect();
        let end = offset.unwrap_or(0) + page.len();
        let next = page.last().filter(|_| end < docs.len()).map(|last| Cursor {
            value: Value::Null,
            id: last.key.id,
        });
        if let Some(next) = &next {
            lock(&self.offsets).insert(next.id, end);
        }
        Ok(DocPage { docs: page, next })
    }

    fn change_page(&self, find: &Find, page: &mut DocPage) {
        let docs = &mut page.docs;
        match self.fault {
            Fault::WrongOrder if docs.len() > 1 && find.order.is_some() => {
                let last = docs.len() - 1;
                docs.swap(last, last - 1);
            }
            Fault::OrderOfUtf16 if find.order.is_some_and(|term| term.column == "name") => {
                docs.sort_by_key(|doc| text(doc, "name").encode_utf16().collect::<Vec<u16>>());
            }
            Fault::NullsLast if find.order.is_some_and(|term| term.direction == Direction::Ascending) => {
                let column = find.order.map_or("", |term| term.column);
                docs.sort_by_key(|doc| !has(doc, column));
            }
            Fault::SkippedDocument if find.after.is_some() && docs.len() > 1 => drop(docs.remove(0)),
            Fault::RepeatedDocument if docs.len() > 1 => {
                if let (Some(next), Some(doc)) = (&mut page.next, docs.get(docs.len() - 2)) {
                    next.id = doc.key.id;
                }
            }
            Fault::CursorBehindTheEnd if docs.len() == find.limit && page.next.is_none() => {
                let value = Value::Null;
                page.next = docs.last().map(|doc| Cursor { value, id: doc.key.id });
            }
            Fault::DocumentForEachMatch if matches!(find.filter, Filter::In("tag", _)) && docs.len() < find.limit => {
                docs.extend(docs.first().cloned());
            }
            _ => {}
        }
    }
}

/// The columns that a filter names.
fn columns(filter: &Filter) -> Vec<Name> {
    match filter {
        Filter::All => Vec::new(),
        Filter::Eq(_, Value::Null) => Vec::new(),
        Filter::Eq(name, _) | Filter::In(name, _) | Filter::Range(name, ..) | Filter::Prefix(name, _) => vec![name],
        Filter::And(parts) | Filter::Or(parts) => parts.iter().flat_map(columns).collect(),
        Filter::Not(part) => columns(part),
    }
}

fn text(doc: &Doc, column: &str) -> String {
    let body: serde_json::Value = serde_json::from_slice(&doc.body).unwrap_or_default();
    body[column].as_str().unwrap_or_default().to_owned()
}

fn has(doc: &Doc, column: &str) -> bool {
    serde_json::from_slice::<serde_json::Value>(&doc.body).is_ok_and(|body| !body[column].is_null())
}

#[async_trait]
impl View for BrokenView {
    fn seq(&self) -> Seq {
        self.view.seq()
    }

    async fn renew(&mut self) -> Result<()> {
        self.view.renew().await
    }

    async fn get(&mut self, keys: &[Key]) -> Result<Vec<Option<Doc>>> {
        self.refresh().await?;
        self.view.get(keys).await
    }

    async fn latest(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.refresh().await?;
        self.view.latest(keys).await
    }

    async fn latest_page(&mut self, set: Name, after: Option<Uuid>, limit: usize) -> Result<Vec<Latest>> {
        self.refresh().await?;
        self.view.latest_page(set, after, limit).await
    }

    async fn find(&mut self, find: &Find) -> Result<DocPage> {
        self.refresh().await?;
        if self.fault == Fault::PagesByOffset {
            return self.page_by_offset(find).await;
        }
        let mut asked = find.clone();
        asked.filter = self.filter(&find.filter);
        let mut result = self.view.find(&asked).await;
        if self.fault == Fault::ScanInsteadOfNoIndex && matches!(result, Err(Error::NoIndex { .. })) {
            (asked.order, asked.filter) = (None, Filter::All);
            result = self.view.find(&asked).await;
        }
        if let Ok(page) = &mut result {
            self.change_page(find, page);
        }
        result
    }

    async fn count(&mut self, kind: Name, filter: &Filter) -> Result<u64> {
        self.refresh().await?;
        let count = self.view.count(kind, &self.filter(filter)).await?;
        Ok(if self.fault == Fault::CountOff && count > 3 {
            count + 1
        } else {
            count
        })
    }

    async fn tally(&mut self, kind: Name, filter: &Filter, by: Name) -> Result<Vec<(Value, u64)>> {
        self.refresh().await?;
        let mut tally = self.view.tally(kind, &self.filter(filter), by).await?;
        match self.fault {
            Fault::TallyOfFirstValues if by == "tag" => tally.truncate(1),
            Fault::TallyWithoutNull => tally.retain(|(value, _)| *value != Value::Null),
            _ => {}
        }
        Ok(tally)
    }

    async fn rows(&mut self, read: &ReadRows) -> Result<RowPage> {
        self.refresh().await?;
        let mut page = self.view.rows(read).await?;
        if self.fault == Fault::RowsByArrival {
            page.rows.sort_by_key(|stored| (stored.row.stream, stored.row.at));
        }
        Ok(page)
    }

    async fn chain_head(&mut self, lane: Name) -> Result<Option<Link>> {
        self.refresh().await?;
        self.view.chain_head(lane).await
    }

    async fn records(&mut self, after: Option<RecordKey>, limit: usize) -> Result<Vec<Record>> {
        let mut records = self.view.records(after, limit).await?;
        match self.fault {
            Fault::RecordsWithoutRows => records.retain(|record| !matches!(record, Record::Row("tape", _))),
            Fault::RecordsOutOfOrder => records.reverse(),
            Fault::RecordsWithTheirStart => {
                if let Some(RecordKey::Latest(key)) = after {
                    let body = self.view.latest(&[key]).await?.remove(0);
                    records.splice(..0, body.map(|body| Record::Latest(Latest { key, body })));
                    records.truncate(limit);
                }
            }
            _ => {}
        }
        Ok(records)
    }

    async fn rows_at(&mut self, places: &[Place]) -> Result<Vec<Option<StoredRow>>> {
        let mut places = places.to_vec();
        if self.fault == Fault::RowsInTheOrderOfTheLane {
            places.sort_unstable();
        }
        self.view.rows_at(&places).await
    }
}
