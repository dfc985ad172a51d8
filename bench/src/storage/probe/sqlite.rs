//! One connection; each group is one transaction of two statements.

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
};

const COMMITS: Statements = Statements {
    create: &[
        "CREATE TABLE link (id BLOB NOT NULL PRIMARY KEY, body BLOB NOT NULL, server BLOB) STRICT",
        "CREATE INDEX link_server ON link (server, id)",
        "CREATE TABLE audit (stream BLOB NOT NULL, at INTEGER NOT NULL, n INTEGER NOT NULL, body BLOB NOT NULL, actor BLOB, \
         action TEXT, subject BLOB, outcome TEXT, PRIMARY KEY (stream, at, n)) STRICT, WITHOUT ROWID",
        "CREATE INDEX audit_actor ON audit (actor, at, stream, n)",
        "CREATE INDEX audit_action ON audit (action, at, stream, n)",
        "CREATE INDEX audit_subject ON audit (subject, at, stream, n)",
        "CREATE INDEX audit_outcome ON audit (outcome, at, stream, n)",
    ],
    keyed: "INSERT INTO link (id, body, server) SELECT substr(?2, j.value->>0, 16), \
            substr(?2, (j.value->>0) + 16, j.value->>1), substr(?2, j.value->>2, 16) FROM json_each(?1) j WHERE true \
            ON CONFLICT (id) DO UPDATE SET body = excluded.body, server = excluded.server",
    rows: "INSERT INTO audit (stream, at, n, body, actor, action, subject, outcome) SELECT substr(?2, j.value->>0, 16), \
           j.value->>2, j.value->>3, substr(?2, (j.value->>0) + 16, j.value->>1), substr(?2, j.value->>4, 16), \
           j.value->>5, substr(?2, j.value->>6, 16), j.value->>7 FROM json_each(?1) j",
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
    fn add(&mut self, id: Uuid, body: &[u8], values: &[Value]) -> Result<()> {
        self.places.push(if self.places.is_empty() { '[' } else { ',' });
        // SQL counts from one; the body stands behind the id.
        write!(self.places, "[{},{}", self.blob.len() + 1, body.len())?;
        self.blob.extend_from_slice(id.as_bytes());
        self.blob.extend_from_slice(body);
        for value in values {
            self.places.push(',');
            match value {
                Value::Null => self.places.push_str("null"),
                Value::Int(value) => write!(self.places, "{value}")?,
                Value::Text(text) => self.places.push_str(&serde_json::to_string(text)?),
                Value::Id(id) => {
                    write!(self.places, "{}", self.blob.len() + 1)?;
                    self.blob.extend_from_slice(id.as_bytes());
                }
            }
        }
        self.places.push(']');
        Ok(())
    }
}

#[async_trait]
impl Engine for SqliteProbe {
    async fn store(&mut self, group: &[Pair]) -> Result<()> {
        let (mut keyed, mut rows) = (Packed::default(), Packed::default());
        for pair in group {
            keyed.add(pair.id, &pair.body, &pair.keys)?;
            let mut values = vec![Value::Int(pair.at), Value::Int(i64::from(pair.n))];
            values.extend_from_slice(&pair.columns);
            rows.add(pair.stream, &pair.row, &values)?;
        }
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
        for (packed, statement) in [(keyed, self.statements.keyed), (rows, self.statements.rows)] {
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
