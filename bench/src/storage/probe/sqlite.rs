//! One connection; each group is one transaction of one statement for each table.

use std::{fmt::Write as _, path::Path};

use anyhow::Result;
use async_trait::async_trait;
use fleet_core::store::Value;
use sqlx::{
    ConnectOptions as _, Connection as _,
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous},
};
use uuid::Uuid;

use super::{Engine, Pair, What};

/// A table of keyed bodies and a table of rows.
struct Statements {
    create: &'static [&'static str],
    keyed: &'static str,
    rows: &'static str,
    /// What is remembered of changes.
    batches: Option<&'static str>,
}

const HEARTBEATS: Statements = Statements {
    create: &[
        "CREATE TABLE state (id BLOB NOT NULL PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID",
        "CREATE TABLE sample (stream BLOB NOT NULL, at INTEGER NOT NULL, n INTEGER NOT NULL, body BLOB NOT NULL, \
         PRIMARY KEY (stream, at, n)) STRICT, WITHOUT ROWID",
    ],
    keyed: "INSERT INTO state (id, body) SELECT substr(?2, j.value->>0, 16), substr(?2, (j.value->>0) + 16, j.value->>1) \
            FROM json_each(?1) j WHERE true ON CONFLICT (id) DO UPDATE SET body = excluded.body",
    rows: "INSERT INTO sample (stream, at, n, body) SELECT substr(?2, j.value->>0, 16), j.value->>2, j.value->>3, \
           substr(?2, (j.value->>0) + 16, j.value->>1) FROM json_each(?1) j",
    batches: None,
};

const COMMITS: Statements = Statements {
    create: &[
        "CREATE TABLE link (id BLOB NOT NULL PRIMARY KEY, body BLOB NOT NULL, rev INTEGER, seq INTEGER, server BLOB) STRICT",
        "CREATE INDEX link_server ON link (server, id)",
        "CREATE TABLE audit (stream BLOB NOT NULL, at INTEGER NOT NULL, n INTEGER NOT NULL, body BLOB NOT NULL, number INTEGER, \
         hash BLOB, actor BLOB, action TEXT, subject BLOB, outcome TEXT, PRIMARY KEY (stream, at, n)) STRICT, WITHOUT ROWID",
        "CREATE INDEX audit_actor ON audit (actor, at, stream, n)",
        "CREATE INDEX audit_action ON audit (action, at, stream, n)",
        "CREATE INDEX audit_subject ON audit (subject, at, stream, n)",
        "CREATE INDEX audit_outcome ON audit (outcome, at, stream, n)",
        "CREATE TABLE batch (id BLOB NOT NULL PRIMARY KEY, seq INTEGER NOT NULL, fingerprint BLOB NOT NULL, feed BLOB NOT NULL) \
         STRICT, WITHOUT ROWID",
        "CREATE INDEX batch_seq ON batch (seq)",
    ],
    keyed: "INSERT INTO link (id, body, rev, seq, server) SELECT substr(?2, j.value->>0, 16), \
            substr(?2, (j.value->>0) + 16, j.value->>1), j.value->>2, j.value->>3, substr(?2, j.value->>4, 16) \
            FROM json_each(?1) j WHERE true ON CONFLICT (id) DO UPDATE SET body = excluded.body, rev = excluded.rev, \
            seq = excluded.seq, server = excluded.server",
    rows: "INSERT INTO audit (stream, at, n, body, number, hash, actor, action, subject, outcome) \
           SELECT substr(?2, j.value->>0, 16), j.value->>2, j.value->>3, substr(?2, (j.value->>0) + 16, j.value->>1), \
           j.value->>4, substr(?2, j.value->>5, 32), substr(?2, j.value->>6, 16), j.value->>7, substr(?2, j.value->>8, 16), \
           j.value->>9 FROM json_each(?1) j",
    batches: Some(
        "INSERT INTO batch (id, seq, fingerprint, feed) SELECT substr(?2, j.value->>0, 16), j.value->>2, \
         substr(?2, j.value->>3, 16), substr(?2, (j.value->>0) + 16, j.value->>1) FROM json_each(?1) j",
    ),
};

/// A file with the two tables.
pub struct SqliteProbe {
    connection: SqliteConnection,
    statements: &'static Statements,
}

impl SqliteProbe {
    /// `full`: synchronised with the disk at each commit; else as the operating system likes (`NORMAL`).
    pub async fn open(path: &Path, full: bool, what: What) -> Result<Self> {
        let mut connection = sqlite_connection(path, full).await?;
        let statements = match what {
            What::Heartbeats => &HEARTBEATS,
            What::Commits => &COMMITS,
        };
        for statement in statements.create {
            sqlx::query(*statement).execute(&mut connection).await?;
        }
        Ok(Self { connection, statements })
    }
}

/// A connection to a new file, set as our store sets its own.
pub async fn sqlite_connection(path: &Path, full: bool) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(if full {
            SqliteSynchronous::Full
        } else {
            SqliteSynchronous::Normal
        })
        .pragma("cache_size", "-32768")
        .pragma("wal_autocheckpoint", "4096")
        .pragma("journal_size_limit", "67108864")
        .disable_statement_logging();
    Ok(options.connect().await?)
}

/// A JSON array that says where ids and bodies stand in a blob, which JSON could not carry.
#[derive(Default)]
struct Packed {
    places: String,
    blob: Vec<u8>,
}

impl Packed {
    fn add(&mut self, id: Uuid, body: &[u8], values: &[Plain<'_>]) -> Result<()> {
        self.places.push(if self.places.is_empty() { '[' } else { ',' });
        // SQL counts from one; the body stands behind the id.
        write!(self.places, "[{},{}", self.blob.len() + 1, body.len())?;
        self.blob.extend_from_slice(id.as_bytes());
        self.blob.extend_from_slice(body);
        for value in values {
            self.places.push(',');
            match value {
                Plain::Bytes(bytes) => self.bytes(bytes)?,
                Plain::Int(value) | Plain::Value(Value::Int(value)) => write!(self.places, "{value}")?,
                Plain::Value(Value::Null) => self.places.push_str("null"),
                Plain::Value(Value::Text(text)) => self.places.push_str(&serde_json::to_string(text)?),
                Plain::Value(Value::Id(id)) => self.bytes(id.as_bytes())?,
            }
        }
        self.places.push(']');
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        write!(self.places, "{}", self.blob.len() + 1)?;
        self.blob.extend_from_slice(bytes);
        Ok(())
    }
}

/// A value beside a body.
enum Plain<'v> {
    Int(i64),
    /// Of a length that the statement knows.
    Bytes(&'v [u8]),
    Value(&'v Value),
}

#[async_trait]
impl Engine for SqliteProbe {
    async fn store(&mut self, group: &[Pair]) -> Result<()> {
        let (mut keyed, mut rows, mut batches) = (Packed::default(), Packed::default(), Packed::default());
        for pair in group {
            let (mut key, mut place) = (Vec::new(), vec![Plain::Int(pair.at), Plain::Int(i64::from(pair.n))]);
            if let Some(order) = &pair.order {
                key.extend([Plain::Int(order.rev), Plain::Int(order.seq)]);
                place.extend([Plain::Int(order.seq), Plain::Bytes(&order.hash)]);
                let remembered = [Plain::Int(order.seq), Plain::Bytes(&order.fingerprint)];
                batches.add(pair.stream, &order.feed, &remembered)?;
            }
            key.extend(pair.keys.iter().map(Plain::Value));
            place.extend(pair.columns.iter().map(Plain::Value));
            keyed.add(pair.id, &pair.body, &key)?;
            rows.add(pair.stream, &pair.row, &place)?;
        }
        let Statements {
            keyed: keyed_sql,
            rows: rows_sql,
            batches: batches_sql,
            ..
        } = *self.statements;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
        let packed = [(keyed, Some(keyed_sql)), (rows, Some(rows_sql)), (batches, batches_sql)];
        for (packed, statement) in packed {
            let Some(statement) = statement else { continue };
            let statement = sqlx::query(statement).bind(packed.places + "]").bind(packed.blob);
            statement.execute(&mut self.connection).await?;
        }
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(self.connection.close().await?)
    }
}
