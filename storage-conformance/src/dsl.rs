//! The small language that cases are written in: names instead of ids, texts instead of structures.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fleet_core::store::{
    Backend, Batch, Change, Column, ColumnType, Committed, Direction, Doc, DocPage, Error, Expect, Filter, Find,
    Indexer, Ingest, Key, KindSchema, LaneSchema, Latest, LatestSchema, Name, ReadRows, Record, Result, Row, RowPage,
    Schema, Seq, StoredRow, Term, Touched, Value, View, Write,
};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use crate::Lab;

/// Longer than anything takes that does come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The schema of all cases. Index values are the fields of the same name in the body; what is missing is null or empty.
pub(crate) fn schema() -> Schema {
    Schema::default()
        .with_kind(kind("thing", thing_columns()))
        .and_then(|schema| {
            schema.with_kind(kind(
                "other",
                vec![
                    Column::one("name", ColumnType::Text),
                    Column::unique("code", ColumnType::Text),
                ],
            ))
        })
        .and_then(|schema| schema.with_kind(kind("bare", Vec::new())))
        .and_then(|schema| schema.with_lane(lane("log", log_columns(), false)))
        .and_then(|schema| schema.with_lane(lane("tape", Vec::new(), false)))
        .and_then(|schema| schema.with_lane(lane("ledger", vec![Column::one("level", ColumnType::Int)], true)))
        .and_then(|schema| schema.with_latest(LatestSchema { name: "gauge" }))
        .and_then(|schema| schema.with_latest(LatestSchema { name: "state" }))
        .expect("the schema of the suite is one")
}

pub(crate) fn thing_columns() -> Vec<Column> {
    vec![
        Column::one("name", ColumnType::Text),
        Column::one("size", ColumnType::Int),
        Column::one("owner", ColumnType::Id),
        Column::many("tag", ColumnType::Text),
        Column::many("mark", ColumnType::Int),
        Column::unique("code", ColumnType::Text),
        Column::unique("serial", ColumnType::Int),
    ]
}

fn log_columns() -> Vec<Column> {
    vec![
        Column::one("level", ColumnType::Int),
        Column::one("word", ColumnType::Text),
        Column::one("who", ColumnType::Id),
    ]
}

pub(crate) fn kind(name: Name, columns: Vec<Column>) -> KindSchema {
    KindSchema {
        name,
        indexes: if columns.len() > 2 {
            vec![vec!["name", "size"]]
        } else {
            Vec::new()
        },
        indexer: indexer(columns.clone()),
        columns,
    }
}

pub(crate) fn lane(name: Name, columns: Vec<Column>, chained: bool) -> LaneSchema {
    LaneSchema {
        name,
        indexer: indexer(columns.clone()),
        columns,
        chained,
    }
}

pub(crate) fn indexer(columns: Vec<Column>) -> Indexer {
    Arc::new(move |body| {
        let body: Json = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let values = columns.iter().map(|column| {
            let mut values: Vec<Value> = match &body[column.name] {
                Json::Array(items) => items.iter().map(|item| value(column.r#type, item)).collect(),
                Json::Null if column.many => Vec::new(),
                item => vec![value(column.r#type, item)],
            };
            values.sort();
            values.dedup();
            values
        });
        Ok(values.collect())
    })
}

fn value(r#type: ColumnType, item: &Json) -> Value {
    match (r#type, item) {
        (ColumnType::Int, Json::Number(number)) => number.as_i64().map_or(Value::Null, Value::Int),
        (ColumnType::Text, Json::String(text)) => Value::Text(text.clone()),
        (ColumnType::Id, Json::String(text)) => text.parse().map_or(Value::Null, Value::Id),
        _ => Value::Null,
    }
}

/// Names sort like the ids that they stand for; at most 16 bytes.
pub(crate) fn id(name: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Uuid::from_bytes(bytes)
}

pub(crate) fn name(id: Uuid) -> String {
    let bytes = id.as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

pub(crate) fn key(name: &str) -> Key {
    Key::new("thing", id(name))
}

/// One write, row or latest value.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    what: What,
    kind: Name,
    id: Uuid,
    at: i64,
    n: u32,
    expect: Expect,
    fields: Map<String, Json>,
    raw: Option<Bytes>,
    index: Option<Vec<Vec<Value>>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Put,
    Delete,
    Check,
    DropLatest,
    Row,
    Latest,
}

fn step(what: What, kind: Name, name: &str) -> Step {
    Step {
        what,
        kind,
        id: id(name),
        at: 0,
        n: 0,
        expect: Expect::Any,
        fields: Map::new(),
        raw: None,
        index: None,
    }
}

pub(crate) fn put(name: &str) -> Step {
    step(What::Put, "thing", name)
}

pub(crate) fn delete(name: &str) -> Step {
    step(What::Delete, "thing", name)
}

pub(crate) fn check(name: &str) -> Step {
    step(What::Check, "thing", name)
}

pub(crate) fn drop_latest(set: Name, name: &str) -> Step {
    step(What::DropLatest, set, name)
}

pub(crate) fn latest(set: Name, name: &str, v: i64) -> Step {
    step(What::Latest, set, name).field("v", v)
}

pub(crate) fn row(lane: Name, stream: &str, at: i64) -> Step {
    Step {
        at,
        ..step(What::Row, lane, stream)
    }
}

impl Step {
    pub(crate) fn kind(mut self, kind: Name) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) fn id(mut self, id: Uuid) -> Self {
        self.id = id;
        self
    }

    pub(crate) fn expect(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    pub(crate) fn field(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn name(self, name: &str) -> Self {
        self.field("name", name)
    }

    pub(crate) fn size(self, size: i64) -> Self {
        self.field("size", size)
    }

    pub(crate) fn owner(self, owner: &str) -> Self {
        self.field("owner", id(owner).to_string())
    }

    pub(crate) fn tags<const N: usize>(self, tags: [&str; N]) -> Self {
        self.field("tag", json!(tags.as_slice()))
    }

    pub(crate) fn code(self, code: &str) -> Self {
        self.field("code", code)
    }

    pub(crate) fn level(self, level: i64) -> Self {
        self.field("level", level)
    }

    pub(crate) fn n(mut self, n: u32) -> Self {
        self.n = n;
        self
    }

    /// These bytes instead of the fields.
    pub(crate) fn raw(mut self, body: impl Into<Bytes>) -> Self {
        self.raw = Some(body.into());
        self
    }

    /// These index values instead of those of the body.
    pub(crate) fn index(mut self, index: Vec<Vec<Value>>) -> Self {
        self.index = Some(index);
        self
    }

    pub(crate) fn body(&self) -> Bytes {
        self.raw
            .clone()
            .unwrap_or_else(|| Json::Object(self.fields.clone()).to_string().into())
    }

    fn values(&self, columns: Vec<Column>) -> Vec<Vec<Value>> {
        self.index
            .clone()
            .unwrap_or_else(|| indexer(columns)(&self.body()).expect("a body of the suite is JSON"))
    }

    fn write(self) -> Write {
        let (key, expect) = (Key::new(self.kind, self.id), self.expect);
        match self.what {
            What::Delete => Write::Delete { key, expect },
            What::Check => Write::Check { key, expect },
            What::DropLatest => Write::DropLatest { key },
            _ => Write::Put {
                key,
                expect,
                body: self.body(),
                index: self.values(
                    schema()
                        .kind(self.kind)
                        .map_or_else(|_| thing_columns(), |kind| kind.columns.clone()),
                ),
            },
        }
    }

    pub(crate) fn into_row(self) -> (Name, Row) {
        let columns = schema()
            .lane(self.kind)
            .map_or_else(|_| Vec::new(), |lane| lane.columns.clone());
        let row = Row {
            stream: self.id,
            at: self.at,
            n: self.n,
            body: self.body(),
            index: self.values(columns).into_iter().flatten().collect(),
        };
        (self.kind, row)
    }
}

/// A batch of these steps.
pub(crate) fn batch(number: u128, steps: impl IntoIterator<Item = Step>) -> Batch {
    let (rows, writes): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(|step| step.what == What::Row);
    Batch {
        id: Uuid::from_u128(number),
        writes: writes.into_iter().map(Step::write).collect(),
        rows: rows.into_iter().map(Step::into_row).collect(),
    }
}

/// An ingest of these steps.
pub(crate) fn ingest(steps: impl IntoIterator<Item = Step>) -> Ingest {
    let (rows, latest): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(|step| step.what == What::Row);
    let value = |step: Step| Latest {
        key: Key::new(step.kind, step.id),
        body: step.body(),
    };
    Ingest {
        latest: latest.into_iter().map(value).collect(),
        rows: rows.into_iter().map(Step::into_row).collect(),
    }
}

pub(crate) fn eq(column: Name, value: impl Into<Value>) -> Filter {
    Filter::Eq(column, value.into())
}

pub(crate) fn null(column: Name) -> Filter {
    Filter::Eq(column, Value::Null)
}

pub(crate) fn one_of<V: Into<Value>>(column: Name, values: impl IntoIterator<Item = V>) -> Filter {
    Filter::In(column, values.into_iter().map(Into::into).collect())
}

pub(crate) fn range<V: Into<Value>>(column: Name, from: impl Into<Option<V>>, to: impl Into<Option<V>>) -> Filter {
    Filter::Range(column, from.into().map(Into::into), to.into().map(Into::into))
}

pub(crate) fn prefix(column: Name, prefix: &str) -> Filter {
    Filter::Prefix(column, prefix.to_owned())
}

pub(crate) fn not(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}

/// A list of things.
#[derive(Clone, Debug)]
pub(crate) struct List(pub(crate) Find);

pub(crate) fn list(filter: Filter) -> List {
    List(Find {
        kind: "thing",
        filter,
        order: None,
        after: None,
        limit: 100,
    })
}

pub(crate) fn all() -> List {
    list(Filter::All)
}

impl List {
    pub(crate) fn by(mut self, column: Name) -> Self {
        let direction = Direction::Ascending;
        self.0.order = Some(Term { column, direction });
        self
    }

    pub(crate) fn down(mut self) -> Self {
        self.0.order = self.0.order.map(|term| Term {
            direction: Direction::Descending,
            ..term
        });
        self
    }

    pub(crate) fn limit(mut self, limit: usize) -> Self {
        self.0.limit = limit;
        self
    }

    pub(crate) fn kind(mut self, kind: Name) -> Self {
        self.0.kind = kind;
        self
    }
}

/// A reading of a lane.
#[derive(Clone, Debug)]
pub(crate) struct Reading(pub(crate) ReadRows);

pub(crate) fn read(lane: Name) -> Reading {
    Reading(ReadRows {
        lane,
        stream: None,
        filter: Filter::All,
        from: None,
        to: None,
        direction: Direction::Ascending,
        after: None,
        limit: 100,
    })
}

impl Reading {
    pub(crate) fn stream(mut self, stream: &str) -> Self {
        self.0.stream = Some(id(stream));
        self
    }

    pub(crate) fn filter(mut self, filter: Filter) -> Self {
        self.0.filter = filter;
        self
    }

    pub(crate) fn from(mut self, from: i64) -> Self {
        self.0.from = Some(from);
        self
    }

    pub(crate) fn to(mut self, to: i64) -> Self {
        self.0.to = Some(to);
        self
    }

    pub(crate) fn down(mut self) -> Self {
        self.0.direction = Direction::Descending;
        self
    }

    pub(crate) fn limit(mut self, limit: usize) -> Self {
        self.0.limit = limit;
        self
    }
}

impl Lab {
    pub(crate) async fn commit(&self, steps: impl IntoIterator<Item = Step>) -> Result<Committed> {
        self.commit_as(self.next_batch() << 64, steps).await
    }

    pub(crate) async fn commit_as(&self, number: u128, steps: impl IntoIterator<Item = Step>) -> Result<Committed> {
        self.store().commit(batch(number, steps)).await
    }

    /// Commits what must be taken.
    #[track_caller]
    pub(crate) fn ok(&self, steps: impl IntoIterator<Item = Step>) -> impl Future<Output = Committed> {
        let commit = self.store().clone();
        let batch = batch(self.next_batch() << 64, steps);
        async move { commit.commit(batch).await.expect("the batch is taken") }
    }

    /// Commits what must be refused; the variant of the error.
    pub(crate) async fn refused(&self, steps: impl IntoIterator<Item = Step>) -> &'static str {
        variant(&self.commit(steps).await.expect_err("the batch is refused"))
    }

    pub(crate) async fn ingest(&self, steps: impl IntoIterator<Item = Step>) -> Result<()> {
        self.store().ingest(ingest(steps)).await
    }

    pub(crate) async fn view(&self) -> Box<dyn View> {
        self.store().view().await.expect("a view is given")
    }

    pub(crate) async fn get(&self, name: &str) -> Option<Doc> {
        self.get_key(key(name)).await
    }

    pub(crate) async fn get_key(&self, key: Key) -> Option<Doc> {
        let mut docs = self.view().await.get(&[key]).await.expect("documents are read");
        assert_eq!(docs.len(), 1, "one answer for each key");
        docs.remove(0)
    }

    pub(crate) async fn rev(&self, name: &str) -> Option<u64> {
        self.get(name).await.map(|doc| doc.rev)
    }

    pub(crate) async fn seq(&self) -> Seq {
        self.view().await.seq()
    }

    /// The whole list, page by page, as names.
    pub(crate) async fn list(&self, list: List) -> String {
        listed(&mut *self.view().await, list).await
    }

    pub(crate) async fn page(&self, list: List) -> Result<DocPage> {
        self.view().await.find(&list.0).await
    }

    pub(crate) async fn count(&self, filter: Filter) -> u64 {
        self.view()
            .await
            .count("thing", &filter)
            .await
            .expect("documents are counted")
    }

    pub(crate) async fn tally(&self, filter: Filter, by: Name) -> String {
        tallied(&mut *self.view().await, filter, by).await
    }

    /// The whole reading, page by page, as `stream@time.number`.
    pub(crate) async fn rows(&self, reading: Reading) -> String {
        read_all(&mut *self.view().await, reading).await
    }

    pub(crate) async fn row_page(&self, reading: Reading) -> Result<RowPage> {
        self.view().await.rows(&reading.0).await
    }

    pub(crate) async fn stored_rows(&self, reading: Reading) -> Vec<StoredRow> {
        self.row_page(reading).await.expect("rows are read").rows
    }

    pub(crate) async fn latest(&self, set: Name, name: &str) -> Option<String> {
        let mut found = self
            .view()
            .await
            .latest(&[Key::new(set, id(name))])
            .await
            .expect("latest values are read");
        assert_eq!(found.len(), 1, "one answer for each key");
        found.remove(0).map(|body| String::from_utf8_lossy(&body).into_owned())
    }

    /// The feed after a place, up to now. A last commit, which is left out of the answer, marks the end.
    pub(crate) async fn feed(&self, after: Seq) -> Vec<String> {
        let mark = format!("~{}", self.next_batch());
        let mut changes = self.store().changes(after).await.expect("the feed is followed");
        let end = self.ok([put(&mark).kind("bare")]).await.seq;
        let mut told = Vec::new();
        loop {
            let next = tokio::time::timeout(PATIENCE, changes.next())
                .await
                .expect("the feed goes on");
            let change = next.expect("the feed does not end").expect("the feed holds no error");
            assert!(change.seq <= end, "the feed went past the mark: {change:?}");
            if change.seq == end {
                return told;
            }
            told.push(tell(&change));
        }
    }

    pub(crate) async fn export(&self) -> Vec<Record> {
        exported(&**self.store()).await
    }
}

/// A change in a few words: `3 thing/a@2`, `4 thing/a@2 gone`, `5 log/s`.
pub(crate) fn tell(change: &Change) -> String {
    match change.touched {
        Touched::Document { key, rev, deleted } => {
            let gone = if deleted { " gone" } else { "" };
            format!("{} {}/{}@{rev}{gone}", change.seq, key.kind, name(key.id))
        }
        Touched::Stream { lane, stream } => format!("{} {lane}/{}", change.seq, name(stream)),
    }
}

pub(crate) async fn listed(view: &mut dyn View, mut list: List) -> String {
    let mut names = Vec::new();
    loop {
        let page = view.find(&list.0).await.expect("the list is served");
        assert!(page.docs.len() <= list.0.limit, "a page holds no more than asked for");
        assert!(
            page.next.is_none() || page.docs.len() == list.0.limit,
            "only a full page has another behind it"
        );
        names.extend(page.docs.iter().map(|doc| name(doc.key.id)));
        assert!(names.len() < 100_000, "the list ends");
        match page.next {
            Some(next) => list.0.after = Some(next),
            None => return names.join(" "),
        }
    }
}

pub(crate) async fn read_all(view: &mut dyn View, mut reading: Reading) -> String {
    let mut rows = Vec::new();
    loop {
        let page = view.rows(&reading.0).await.expect("the reading is served");
        assert!(
            page.rows.len() <= reading.0.limit,
            "a page holds no more than asked for"
        );
        assert!(
            page.next.is_none() || page.rows.len() == reading.0.limit,
            "only a full page has another behind it"
        );
        rows.extend(
            page.rows
                .iter()
                .map(|StoredRow { row, .. }| format!("{}@{}.{}", name(row.stream), row.at, row.n)),
        );
        assert!(rows.len() < 100_000, "the reading ends");
        match page.next {
            Some(next) => reading.0.after = Some(next),
            None => return rows.join(" "),
        }
    }
}

pub(crate) async fn tallied(view: &mut dyn View, filter: Filter, by: Name) -> String {
    let tally = view.tally("thing", &filter, by).await.expect("the tally is served");
    let told = tally.iter().map(|(value, count)| match value {
        Value::Null => format!("null:{count}"),
        Value::Int(value) => format!("{value}:{count}"),
        Value::Text(value) => format!("{value}:{count}"),
        Value::Id(value) => format!("{}:{count}", name(*value)),
    });
    told.collect::<Vec<_>>().join(" ")
}

pub(crate) async fn exported(store: &dyn Backend) -> Vec<Record> {
    let view = store.view().await.expect("a view is given");
    view.export().try_collect().await.expect("the export is complete")
}

pub(crate) fn variant(error: &Error) -> &'static str {
    match error {
        Error::Conflict { .. } => "Conflict",
        Error::Taken { .. } => "Taken",
        Error::RowConflict { .. } => "RowConflict",
        Error::BatchReused(_) => "BatchReused",
        Error::NoIndex { .. } => "NoIndex",
        Error::Invalid(_) => "Invalid",
        Error::Compacted(_) => "Compacted",
        Error::Corrupt(_) => "Corrupt",
        Error::Refused(_) => "Refused",
        Error::Unavailable(_) => "Unavailable",
        Error::Unknown(_) => "Unknown",
        _ => "another",
    }
}

/// The variant of the error that a call must end in.
#[track_caller]
pub(crate) fn fails<T>(result: Result<T>) -> &'static str {
    match result {
        Ok(_) => "no error",
        Err(error) => variant(&error),
    }
}
