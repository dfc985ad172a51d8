//! What the tests of this crate share: a small schema, and stores in folders that go away.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "tests")]

pub mod disk;
pub mod files;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use fleet_core::{
    kernel::SystemClock,
    store::{
        Backend as _, Batch, Column, ColumnType, Expect, Ingest, Key, KindSchema, LaneSchema, Latest, LatestSchema,
        Name, Result, Row, Schema, Value, Write,
    },
};
use fleet_storage_json::{JsonOptions, JsonStore};
use serde_json::{Value as Json, json};
use uuid::Uuid;

/// The index values that a body itself names, in this order.
fn indexer(columns: Vec<Column>) -> fleet_core::store::Indexer {
    Arc::new(move |body| {
        let body: Json = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let one = |value: &Json| match value {
            Json::String(text) => Value::from(text.as_str()),
            Json::Number(number) => number.as_i64().map_or(Value::Null, Value::Int),
            _ => Value::Null,
        };
        Ok(columns
            .iter()
            .map(|column| match (&body[column.name], column.many) {
                (Json::Array(values), true) => values.iter().map(one).collect(),
                (_, true) => vec![],
                (value, false) => vec![one(value)],
            })
            .collect())
    })
}

pub fn kind(name: Name, columns: Vec<Column>) -> KindSchema {
    KindSchema {
        name,
        indexer: indexer(columns.clone()),
        columns,
        indexes: vec![],
    }
}

pub fn lane(name: Name, columns: Vec<Column>, chained: bool) -> LaneSchema {
    LaneSchema {
        name,
        indexer: indexer(columns.clone()),
        columns,
        chained,
    }
}

pub fn device_columns() -> Vec<Column> {
    vec![
        Column::unique("name", ColumnType::Text),
        Column::many("tag", ColumnType::Text),
    ]
}

/// Devices with a unique name and tags, a plain lane, a chained one, and a set of latest values.
pub fn schema() -> Schema {
    Schema::default()
        .with_kind(kind("device", device_columns()))
        .and_then(|schema| schema.with_lane(lane("sample", vec![Column::one("level", ColumnType::Int)], false)))
        .and_then(|schema| schema.with_lane(lane("audit", vec![], true)))
        .and_then(|schema| schema.with_latest(LatestSchema { name: "state" }))
        .expect("the schema is one")
}

pub fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

pub fn device(n: u128) -> Key {
    Key::new("device", id(n))
}

fn body(value: &Json) -> Bytes {
    Bytes::from(value.to_string())
}

/// Writes a device, and a row of each lane, under the batch id of the same number.
pub fn batch(n: u128) -> Batch {
    let (name, tag) = (format!("device-{n}"), format!("tag-{}", n % 7));
    Batch {
        id: id(0xb000_0000 + n),
        writes: vec![Write::Put {
            key: device(n),
            expect: Expect::Any,
            body: body(&json!({"name": name, "tag": [tag]})),
            index: vec![vec![name.as_str().into()], vec![tag.as_str().into()]],
        }],
        rows: vec![
            ("sample", sample(n, 1)),
            (
                "audit",
                Row {
                    index: vec![],
                    ..sample(n, 1)
                },
            ),
        ],
    }
}

pub fn sample(stream: u128, at: i64) -> Row {
    Row {
        stream: id(stream),
        at,
        n: 0,
        body: body(&json!({"level": at})),
        index: vec![Value::Int(at)],
    }
}

/// A latest value and a row.
pub fn ingest(n: u128, at: i64) -> Ingest {
    Ingest {
        latest: vec![Latest {
            key: Key::new("state", id(n)),
            body: body(&json!({"at": at})),
        }],
        rows: vec![("sample", sample(n, at))],
    }
}

/// A folder for one store.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("data").join("json")
    }
}

pub async fn try_open(path: &Path) -> Result<JsonStore> {
    JsonStore::open(path, JsonOptions::default(), Arc::new(SystemClock)).await
}

/// Opens and prepares.
pub async fn open(path: &Path) -> JsonStore {
    let store = try_open(path).await.expect("the store opens");
    store.prepare(&schema()).await.expect("the schema is prepared");
    store
}
