//! The one place where text becomes a statement.
//!
//! Audit: a statement is made of literals of this crate and of declared names. Names reach a statement only through
//! [`Ident`], which lets nothing but `a-z`, `0-9` and `_` through and puts them in quotes. Everything else is bound.
//! [`Sql::new`] is called by [`crate::tables`] alone. `AssertSqlSafe` appears here and nowhere else.

use std::{fmt, sync::Arc};

use fleet_core::store::{ColumnType, Name, Value};
use sqlx::{
    AssertSqlSafe, Row as _, Sqlite,
    query::Query,
    sqlite::{SqliteArguments, SqliteConnection, SqliteRow},
};
use uuid::Uuid;

use crate::pack::Pack;

/// A query of this crate.
pub(crate) type Prepared = Query<'static, Sqlite, SqliteArguments>;

/// The name of a table, a column or an index, in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ident(String);

impl Ident {
    pub(crate) fn new(parts: &[&str]) -> Self {
        let mut text = String::from("\"");
        for (n, part) in parts.iter().enumerate() {
            if n > 0 {
                text.push('.');
            }
            // The schema has refused all else already; this is the second lock on the door.
            text.extend(
                part.chars()
                    .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_'),
            );
        }
        text.push('"');
        Self(text)
    }

    /// The index that the engine makes for a table's primary key.
    pub(crate) fn primary(table: &Self) -> Self {
        Self(format!("\"sqlite_autoindex_{}_1\"", table.bare()))
    }

    /// The name without quotes, as the engine's catalogue has it.
    pub(crate) fn bare(&self) -> &str {
        self.0.trim_matches('"')
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A fixed statement.
#[derive(Clone, Debug)]
pub(crate) struct Sql(Arc<str>);

impl Sql {
    /// For [`crate::tables`], which makes statements of literals and [`Ident`]s, and for literals.
    pub(crate) fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Empties a table.
    pub(crate) fn delete_all(table: &Ident) -> Self {
        Self::new(format!("DELETE FROM {table}"))
    }

    pub(crate) fn query(&self) -> Prepared {
        sqlx::query(AssertSqlSafe(Arc::clone(&self.0)))
    }

    /// The statement for all rows of a pack.
    pub(crate) fn pack(&self, pack: Pack) -> Prepared {
        let (json, blob) = pack.finish();
        self.query().bind(json).bind(blob)
    }

    /// Its text, to look at.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Runs it once, without keeping it.
    pub(crate) async fn once(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.query().persistent(false).execute(conn).await.map(drop)
    }
}

/// A literal statement.
pub(crate) fn literal(text: &'static str) -> Prepared {
    sqlx::query(text)
}

/// A statement that grows part by part, for queries whose shape the caller chooses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statement {
    text: String,
    arguments: Vec<Argument>,
}

#[derive(Clone, Debug)]
enum Argument {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl Statement {
    pub(crate) fn sql(&mut self, literal: &'static str) -> &mut Self {
        self.text.push_str(literal);
        self
    }

    pub(crate) fn name(&mut self, name: &Ident) -> &mut Self {
        self.text.push_str(&name.0);
        self
    }

    /// The column of a declared name, of the table that is called `t`.
    pub(crate) fn column(&mut self, name: Name) -> &mut Self {
        self.text.push_str("t.");
        self.name(&Ident::new(&[name]))
    }

    fn bind(&mut self, argument: Argument) -> &mut Self {
        self.arguments.push(argument);
        let _ = fmt::Write::write_fmt(&mut self.text, format_args!("?{}", self.arguments.len()));
        self
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        self.bind(Argument::Int(value))
    }

    pub(crate) fn text(&mut self, value: String) -> &mut Self {
        self.bind(Argument::Text(value))
    }

    pub(crate) fn id(&mut self, value: Uuid) -> &mut Self {
        self.bind(Argument::Blob(value.as_bytes().to_vec()))
    }

    pub(crate) fn value(&mut self, value: &Value) -> &mut Self {
        self.bind(match value {
            Value::Null => Argument::Null,
            Value::Int(value) => Argument::Int(*value),
            Value::Text(text) => Argument::Text(text.clone()),
            Value::Id(id) => Argument::Blob(id.as_bytes().to_vec()),
        })
    }

    /// `(…)` with these values: few of them one by one, many as one array, so that statements stay few.
    pub(crate) fn list(&mut self, r#type: ColumnType, values: &[Value]) -> &mut Self {
        if values.len() <= 8 {
            self.sql("(");
            for (n, value) in values.iter().enumerate() {
                if n > 0 {
                    self.sql(",");
                }
                self.value(value);
            }
            return self.sql(")");
        }
        let encoded: Vec<serde_json::Value> = values
            .iter()
            .map(|value| match value {
                Value::Null => serde_json::Value::Null,
                Value::Int(value) => (*value).into(),
                Value::Text(text) => hex(text.as_bytes()).into(),
                Value::Id(id) => hex(id.as_bytes()).into(),
            })
            .collect();
        self.sql(match r#type {
            ColumnType::Int => "(SELECT value FROM json_each(",
            ColumnType::Text => "(SELECT CAST(unhex(value) AS TEXT) FROM json_each(",
            ColumnType::Id => "(SELECT unhex(value) FROM json_each(",
        });
        self.text(serde_json::Value::Array(encoded).to_string()).sql("))")
    }

    /// Its text, to look at.
    #[cfg(test)]
    pub(crate) fn written(&self) -> &str {
        &self.text
    }

    /// The same without a word on which index to use: the engine refuses a statement that names one which is not there.
    pub(crate) fn unhinted(mut self) -> Self {
        const HINT: &str = " INDEXED BY \"";
        while let Some(at) = self.text.find(HINT) {
            let name = at + HINT.len();
            let end = self.text[name..]
                .find('"')
                .map_or(self.text.len(), |end| name + end + 1);
            self.text.replace_range(at..end, "");
        }
        self
    }

    pub(crate) fn query(self) -> Prepared {
        let mut query = sqlx::query(AssertSqlSafe(self.text));
        for argument in self.arguments {
            query = match argument {
                Argument::Null => query.bind(None::<i64>),
                Argument::Int(value) => query.bind(value),
                Argument::Text(text) => query.bind(text),
                Argument::Blob(blob) => query.bind(blob),
            };
        }
        query
    }
}

/// The plan that the engine would follow, one line a step.
#[cfg(test)]
pub(crate) async fn explain(conn: &mut SqliteConnection, text: &str) -> Vec<String> {
    let explained = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}")));
    let rows = explained.fetch_all(conn).await.expect("the statement is valid");
    rows.iter().map(|row| row.get::<String, _>(3)).collect()
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Reads an id.
pub(crate) fn read_id(row: &SqliteRow, column: usize) -> Result<Uuid, sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    Uuid::from_slice(bytes).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Reads a number that is never negative.
pub(crate) fn read_uint(row: &SqliteRow, column: usize) -> Result<u64, sqlx::Error> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Reads bytes.
pub(crate) fn read_bytes(row: &SqliteRow, column: usize) -> Result<bytes::Bytes, sqlx::Error> {
    row.try_get::<Vec<u8>, _>(column).map(bytes::Bytes::from)
}

/// Reads a value of a column.
pub(crate) fn read_value(row: &SqliteRow, column: usize, r#type: ColumnType) -> Result<Value, sqlx::Error> {
    Ok(match r#type {
        ColumnType::Int => row.try_get::<Option<i64>, _>(column)?.into(),
        ColumnType::Text => row.try_get::<Option<String>, _>(column)?.into(),
        ColumnType::Id => match row.try_get::<Option<&[u8]>, _>(column)? {
            None => Value::Null,
            Some(_) => read_id(row, column)?.into(),
        },
    })
}

/// Reads a digest or a sum of fixed length.
pub(crate) fn read_array<const N: usize>(row: &SqliteRow, column: usize) -> Result<[u8; N], sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Pieces of statements that read a [`Pack`]: `j` is the row of the array, `?2` the blob.
pub(crate) mod packed {
    use fleet_core::store::ColumnType;

    /// A number, a text or null.
    pub(crate) fn plain(field: usize) -> String {
        format!("j.value->>{field}")
    }

    /// An id.
    pub(crate) fn id(field: usize) -> String {
        format!("substr(?2, j.value->>{field}, 16)")
    }

    /// Bytes, which take two fields.
    pub(crate) fn bytes(field: usize) -> String {
        format!("substr(?2, j.value->>{field}, j.value->>{})", field + 1)
    }

    /// A value of a column.
    pub(crate) fn value(field: usize, r#type: ColumnType) -> String {
        match r#type {
            ColumnType::Int | ColumnType::Text => plain(field),
            ColumnType::Id => id(field),
        }
    }
}
