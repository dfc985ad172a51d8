//! What the tests of this crate share: a cluster, a namespace for each store, a small schema.
#![allow(dead_code, unused_imports, reason = "each test uses its part")]

pub mod database;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use fleet_core::store::{
    Backend as _, Batch, Column, ColumnType, Expect, Ingest, Key, KindSchema, LaneSchema, Latest, LatestSchema, Name,
    Row, Schema, Value, Write,
};
use fleet_storage_postgres::{PostgresOptions, PostgresStore};
use serde_json::{Value as Json, json};
use sqlx::{AssertSqlSafe, Connection as _, postgres::PgConnection};
use uuid::Uuid;

pub use database::{Namespace, cluster, database};

/// Runs statements on a database, as somebody beside the store.
pub async fn run_at(uri: &str, text: &str) {
    let mut conn = PgConnection::connect(uri).await.expect("the database answers");
    sqlx::raw_sql(AssertSqlSafe(text.to_owned()))
        .execute(&mut conn)
        .await
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    conn.close().await.expect("it closes");
}

impl Namespace {
    /// Runs statements in the namespace, as somebody beside the store.
    pub async fn run(&self, text: &str) {
        run_at(self.database(), &format!("SET search_path = \"{}\"; {text}", self.name)).await;
    }

    /// What a query gives, each row's first column as text.
    pub async fn ask(&self, text: &str) -> Vec<String> {
        use sqlx::Row as _;
        let mut conn = PgConnection::connect(self.database())
            .await
            .expect("the database answers");
        let text = format!("SET search_path = \"{}\"; {text}", self.name);
        let rows = sqlx::raw_sql(AssertSqlSafe(text.clone())).fetch_all(&mut conn).await;
        let rows = rows.unwrap_or_else(|error| panic!("{text}: {error}"));
        conn.close().await.expect("it closes");
        rows.iter()
            .map(|row| row.try_get_unchecked::<Option<String>, _>(0))
            .map(|value| value.expect("a text").unwrap_or_default())
            .collect()
    }
}

/// A folder that goes away.
pub fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_owned();
    (folder, path)
}

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

pub fn body(value: &Json) -> Bytes {
    Bytes::from(value.to_string())
}

/// Writes a device, and a row of each lane, under the batch id of the same number.
pub fn batch(n: u128) -> Batch {
    named(n, &format!("device-{n}"))
}

pub fn named(n: u128, name: &str) -> Batch {
    let tag = format!("tag-{}", n % 7);
    Batch {
        id: id(0xb000_0000 + n),
        writes: vec![Write::Put {
            key: device(n),
            expect: Expect::Any,
            body: body(&json!({"name": name, "tag": [tag]})),
            index: vec![vec![name.into()], vec![tag.as_str().into()]],
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

/// Opens and prepares.
pub async fn open(uri: &str) -> PostgresStore {
    open_with(uri, PostgresOptions::default()).await
}

pub async fn open_with(uri: &str, options: PostgresOptions) -> PostgresStore {
    let store = PostgresStore::open(uri, options).await.expect("the store opens");
    store.prepare(&schema()).await.expect("the schema is prepared");
    store
}
