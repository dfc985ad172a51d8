//! What the tests of this crate share: a cluster, a namespace for each store, a small schema.
#![allow(dead_code, reason = "each test uses its part")]

#[path = "../../../xtask/src/postgres.rs"]
pub mod cluster;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use fleet_core::store::{
    Backend as _, Batch, Column, ColumnType, Expect, Ingest, Key, KindSchema, LaneSchema, Latest, LatestSchema, Name,
    Row, Schema, Value, Write,
};
use fleet_storage_postgres::{PostgresOptions, PostgresStore};
use serde_json::{Value as Json, json};
use sqlx::{AssertSqlSafe, Connection as _, postgres::PgConnection};
use uuid::Uuid;

use cluster::Cluster;

/// The database that all tests share, each in a namespace of its own.
///
/// `cargo xtask test` starts a cluster and says where it is. Without it a cluster is started once, below the folder of builds,
/// and left running for the next run.
pub fn database() -> &'static str {
    static URI: OnceLock<String> = OnceLock::new();
    URI.get_or_init(|| {
        #[expect(clippy::disallowed_methods, reason = "a test is told where its database is")]
        let said = std::env::var("FLEET_TEST_POSTGRES");
        said.unwrap_or_else(|_| {
            let below = Path::new(env!("CARGO_TARGET_TMPDIR"));
            fs::create_dir_all(below).expect("the folder is made");
            let lock = fs::File::create(below.join("postgres.lock")).expect("a lock file");
            lock.lock().expect("the lock is taken");
            let cluster = Cluster::start(&below.join("postgres")).unwrap_or_else(|error| panic!("{error}"));
            cluster.uri("postgres")
        })
    })
}

/// Runs statements on a database, as somebody beside the store.
pub async fn run_at(uri: &str, text: &str) {
    let mut conn = PgConnection::connect(uri).await.expect("the database answers");
    sqlx::raw_sql(AssertSqlSafe(text.to_owned()))
        .execute(&mut conn)
        .await
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    conn.close().await.expect("it closes");
}

/// A namespace for one store, dropped with this.
pub struct Namespace {
    uri: String,
    pub name: String,
}

impl Namespace {
    pub fn new() -> Self {
        Self::at(database())
    }

    pub fn at(uri: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            uri: uri.to_owned(),
            name: format!("t{}_{next}", std::process::id()),
        }
    }

    /// The address of the store.
    pub fn uri(&self) -> String {
        self.through(&self.uri)
    }

    /// The same store by way of another address.
    pub fn through(&self, uri: &str) -> String {
        let joint = if uri.contains('?') { '&' } else { '?' };
        format!("{uri}{joint}schema={}", self.name)
    }

    /// Runs statements in the namespace, as somebody beside the store.
    pub async fn run(&self, text: &str) {
        run_at(&self.uri, &format!("SET search_path = \"{}\"; {text}", self.name)).await;
    }

    /// What a query gives, each row's first column as text.
    pub async fn ask(&self, text: &str) -> Vec<String> {
        use sqlx::Row as _;
        let mut conn = PgConnection::connect(&self.uri).await.expect("the database answers");
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

impl Drop for Namespace {
    fn drop(&mut self) {
        let text = format!("DROP SCHEMA IF EXISTS \"{0}\", \"{0}_read\" CASCADE", self.name);
        let uri = self.uri.clone();
        // On a thread of its own: whoever drops this may be on a runtime.
        let done = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let Ok(mut conn) = PgConnection::connect(&uri).await else {
                    return;
                };
                let text = format!("SET client_min_messages = warning; SET lock_timeout = '5s'; {text}");
                let _ = sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut conn).await;
                let _ = conn.close().await;
            });
        });
        let _ = done.join();
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
