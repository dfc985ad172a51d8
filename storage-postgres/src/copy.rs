//! Rows into a table by `COPY … FROM STDIN (FORMAT binary)`: nothing is parsed or planned, and the engine writes whole pages at
//! once (<https://www.postgresql.org/docs/current/sql-copy.html>).
//!
//! What is there already makes it fail as an `INSERT` would. It needs no named statement, so that a pooler may stand between.

use fleet_core::store::{ColumnType, Value};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::sql::Sql;

/// Bytes that are sent at once: the engine stores one part while the next is on its way.
const PART: usize = 64 * 1024;

/// The signature, no flags, no extension.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Rows as the engine takes them. Values come in the order of the statement's columns.
#[derive(Debug)]
pub(crate) struct Rows {
    columns: i16,
    bytes: Vec<u8>,
    count: u64,
}

impl Rows {
    /// Rows of so many values, with room for so many rows and for so many bytes in their texts. Growing step by step would leave a
    /// trail of blocks of each size, on each thread, of which an allocator keeps some megabytes for later.
    pub(crate) fn new(columns: usize, rows: usize, texts: usize) -> Self {
        // A value is its length and, where it is no text, 16 bytes at most; a row begins with the number of values.
        let room = HEAD.len() + rows * (2 + columns * 20) + texts + 2;
        let mut bytes = Vec::with_capacity(room);
        bytes.extend_from_slice(HEAD);
        Self {
            columns: i16::try_from(columns).unwrap_or(i16::MAX),
            bytes,
            count: 0,
        }
    }

    /// Begins a row.
    pub(crate) fn row(&mut self) -> &mut Self {
        self.count += 1;
        self.bytes.extend_from_slice(&self.columns.to_be_bytes());
        self
    }

    /// A text, a body or bytes.
    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn id(&mut self, value: Uuid) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    fn null(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
        self
    }

    /// An index value. Null stands for none, and for what is of another type.
    pub(crate) fn value(&mut self, r#type: ColumnType, value: Option<&Value>) -> &mut Self {
        match (r#type, value) {
            (ColumnType::Int, Some(Value::Int(value))) => self.int(*value),
            (ColumnType::Text, Some(Value::Text(text))) => self.bytes(text.as_bytes()),
            (ColumnType::Id, Some(Value::Id(id))) => self.id(*id),
            _ => self.null(),
        }
    }

    /// Copies the rows. A copy that is given up in the middle fails, and its transaction with it.
    pub(crate) async fn copy(mut self, conn: &mut PgConnection, sql: &Sql) -> Result<(), sqlx::Error> {
        if self.count == 0 {
            return Ok(());
        }
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        let mut into = conn.copy_in_raw(sql.as_str()).await?;
        for part in self.bytes.chunks(PART) {
            into.send(part).await?;
        }
        into.finish().await.map(drop)
    }
}
