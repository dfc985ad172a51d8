//! The small language that cases are written in: names instead of ids, texts instead of structures.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fleet_core::kernel::Timestamp;
use fleet_core::store::{
    Batch, Column, ColumnType, Direction, Doc, Expect, Filter, Find, Indexer, Ingest, Key, KindSchema, LaneSchema,
    Latest, LatestSchema, Link, Move, Name, ReadRows, Record, RecordKey, Row, Schema, StoredRow, Term, Value, Write,
    group::Place,
};
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

pub(crate) use crate::ask::*;

/// Longer than anything takes that does come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The schema of all cases, for harnesses that keep stores which are prepared already. Index values are the fields of the same name in
/// the body; what is missing is null or empty.
pub fn schema() -> Schema {
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

    /// Whether it may come by an ingest.
    pub(crate) fn is_ingest(&self) -> bool {
        matches!(self.what, What::Row | What::Latest)
    }

    pub(crate) fn is_put(&self) -> bool {
        self.what == What::Put
    }

    pub(crate) fn is_delete(&self) -> bool {
        self.what == What::Delete
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

/// A step as a record of an export: a document of this revision and place, a latest value, or a row.
pub(crate) fn record(step: Step, rev: u64, seq: u64) -> Record {
    match step.what {
        What::Row => {
            let (lane, row) = step.into_row();
            let row = Row {
                index: Vec::new(),
                ..row
            };
            Record::Row(lane, StoredRow { row, link: None })
        }
        What::Latest => Record::Latest(Latest {
            key: Key::new(step.kind, step.id),
            body: step.body(),
        }),
        _ => Record::Doc(Doc {
            key: Key::new(step.kind, step.id),
            rev,
            seq,
            body: step.body(),
        }),
    }
}

/// Rows of a chained lane, linked in this order after `last`.
pub(crate) fn chained(last: Option<Link>, rows: impl IntoIterator<Item = Step>) -> Vec<Record> {
    let mut last = last;
    let linked = rows.into_iter().map(|step| {
        let (lane, row) = step.into_row();
        last = Some(Link::after(last, &row));
        let row = Row {
            index: Vec::new(),
            ..row
        };
        Record::Row(lane, StoredRow { row, link: last })
    });
    linked.collect()
}

/// What a step is called as a record.
pub(crate) fn record_key(step: &Step) -> RecordKey {
    let key = Key::new(step.kind, step.id);
    match step.what {
        What::Row => RecordKey::Row(Place {
            lane: step.kind,
            stream: step.id,
            at: step.at,
            n: step.n,
        }),
        What::Latest | What::DropLatest => RecordKey::Latest(key),
        _ => RecordKey::Doc(key),
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

/// A move.
pub(crate) fn origin(n: u128) -> Move {
    Move {
        id: Uuid::from_u128(0xf00d_0000 + n),
        peer: format!("memory:{n}"),
        at: Timestamp::from_seconds(1_000_000),
    }
}
