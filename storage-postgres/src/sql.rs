//! The one place where text becomes a statement.
//!
//! Audit: a statement is made of literals of this crate, of numbers and ids, and of declared names. Names reach a statement only
//! through [`Ident`], which lets nothing but `a-z`, `0-9`, `_` and `-` through and puts them in quotes. Everything else is
//! bound. [`Sql::new`] is called by [`crate::tables`] and [`crate::upkeep`] alone. `AssertSqlSafe` appears here and nowhere
//! else.
//!
//! Statements are unnamed and run inside explicit transactions, so that a pooler in transaction mode may stand between.

use std::{fmt, sync::Arc};

use fleet_core::store::{ColumnType, Name, Value};
use sqlx::{
    AssertSqlSafe, Postgres, Row as _,
    postgres::{PgArguments, PgConnection, PgRow},
    query::Query,
};
use uuid::Uuid;

/// A query of this crate.
pub(crate) type Prepared = Query<'static, Postgres, PgArguments>;

/// Bytes of a name that the engine keeps.
const NAME: usize = 63;

/// The name of a table, a column or an index, in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ident(String);

impl Ident {
    pub(crate) fn new(parts: &[&str]) -> Self {
        // The schema has refused all else already; this is the second lock on the door.
        let mut text: String = parts
            .join(".")
            .chars()
            .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-'))
            .collect();
        if text.len() > NAME {
            // The engine would cut it, and two names could become one.
            let hash = blake3::hash(text.as_bytes()).to_hex();
            text.truncate(NAME - 17);
            text.push('-');
            text.push_str(&hash[..16]);
        }
        Self(format!("\"{text}\""))
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

/// A table of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    namespace: Ident,
    pub(crate) name: Ident,
}

impl Table {
    pub(crate) fn new(namespace: &Ident, parts: &[&str]) -> Self {
        Self {
            namespace: namespace.clone(),
            name: Ident::new(parts),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

/// A fixed statement.
#[derive(Clone, Debug)]
pub(crate) struct Sql(Arc<str>);

impl Sql {
    /// For statements of literals, numbers, [`Ident`]s and [`Table`]s.
    pub(crate) fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text; for what is no query.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// To bind and run within a transaction.
    pub(crate) fn query(&self) -> Prepared {
        sqlx::query(AssertSqlSafe(Arc::clone(&self.0))).persistent(false)
    }

    /// To run within a transaction, with what is bound already.
    pub(crate) fn query_with(&self, arguments: PgArguments) -> Prepared {
        sqlx::query_with(AssertSqlSafe(Arc::clone(&self.0)), arguments).persistent(false)
    }

    /// Runs one or several statements as they are, in one message.
    pub(crate) async fn run(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(Arc::clone(&self.0)))
            .execute(conn)
            .await
            .map(drop)
    }

    /// Runs one or several statements in one message; all their rows, in order.
    pub(crate) async fn rows(&self, conn: &mut PgConnection) -> Result<Vec<PgRow>, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(Arc::clone(&self.0))).fetch_all(conn).await
    }

    /// This and another, in one message.
    pub(crate) fn then(&self, other: &Self) -> Self {
        Self::new(format!("{}; {}", self.0, other.0))
    }
}

/// Runs a literal.
pub(crate) async fn literal(conn: &mut PgConnection, text: &'static str) -> Result<(), sqlx::Error> {
    Sql::new(text).run(conn).await
}

/// A statement that grows part by part, for queries whose shape the caller chooses.
#[derive(Debug, Default)]
pub(crate) struct Statement {
    text: String,
    arguments: Vec<Argument>,
}

#[derive(Debug)]
enum Argument {
    Int(i64),
    Text(String),
    Id(Uuid),
    Ints(Vec<i64>),
    Texts(Vec<String>),
    Ids(Vec<Uuid>),
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

    pub(crate) fn table(&mut self, table: &Table) -> &mut Self {
        self.name(&table.namespace).sql(".").name(&table.name)
    }

    /// The column of a declared name, of the table that is called `t`.
    pub(crate) fn column(&mut self, name: Name) -> &mut Self {
        self.sql("t.").name(&Ident::new(&[name]))
    }

    fn bind(&mut self, argument: Argument) -> &mut Self {
        self.arguments.push(argument);
        let _ = fmt::Write::write_fmt(&mut self.text, format_args!("${}", self.arguments.len()));
        self
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        self.bind(Argument::Int(value))
    }

    pub(crate) fn id(&mut self, value: Uuid) -> &mut Self {
        self.bind(Argument::Id(value))
    }

    /// A value to compare with. A text that the engine cannot hold stands for the next one that it can: no stored value lies
    /// between them.
    pub(crate) fn value(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::Null => self.sql("NULL"),
            Value::Int(value) => self.int(*value),
            Value::Id(id) => self.id(*id),
            Value::Text(text) => {
                let text = match text.split_once('\0') {
                    None => text.clone(),
                    Some((before, _)) => format!("{before}\u{1}"),
                };
                self.bind(Argument::Text(text))
            }
        }
    }

    /// `= ANY` of these values; those that no document can have are left out.
    pub(crate) fn any(&mut self, r#type: ColumnType, values: &[Value]) -> &mut Self {
        self.sql(" = ANY(");
        match r#type {
            ColumnType::Int => {
                let values = values.iter().filter_map(|value| match value {
                    Value::Int(value) => Some(*value),
                    _ => None,
                });
                self.bind(Argument::Ints(values.collect()))
            }
            ColumnType::Text => {
                let values = values.iter().filter_map(|value| match value {
                    Value::Text(text) if !text.contains('\0') => Some(text.clone()),
                    _ => None,
                });
                self.bind(Argument::Texts(values.collect()))
            }
            ColumnType::Id => {
                let values = values.iter().filter_map(|value| match value {
                    Value::Id(id) => Some(*id),
                    _ => None,
                });
                self.bind(Argument::Ids(values.collect()))
            }
        };
        self.sql(")")
    }

    pub(crate) fn query(self) -> Prepared {
        let mut query = sqlx::query(AssertSqlSafe(self.text)).persistent(false);
        for argument in self.arguments {
            query = match argument {
                Argument::Int(value) => query.bind(value),
                Argument::Text(text) => query.bind(text),
                Argument::Id(id) => query.bind(id),
                Argument::Ints(values) => query.bind(values),
                Argument::Texts(values) => query.bind(values),
                Argument::Ids(values) => query.bind(values),
            };
        }
        query
    }
}

/// Values of one column, to be bound as one array.
#[derive(Debug)]
pub(crate) enum Array<'v> {
    Int(Vec<Option<i64>>),
    Text(Vec<Option<&'v str>>),
    Id(Vec<Option<Uuid>>),
}

impl<'v> Array<'v> {
    pub(crate) fn new(r#type: ColumnType) -> Self {
        match r#type {
            ColumnType::Int => Self::Int(Vec::new()),
            ColumnType::Text => Self::Text(Vec::new()),
            ColumnType::Id => Self::Id(Vec::new()),
        }
    }

    /// Null stands for none, and for what is of another type.
    pub(crate) fn push(&mut self, value: Option<&'v Value>) {
        match self {
            Self::Int(values) => values.push(match value {
                Some(Value::Int(value)) => Some(*value),
                _ => None,
            }),
            Self::Text(values) => values.push(match value {
                Some(Value::Text(text)) => Some(text),
                _ => None,
            }),
            Self::Id(values) => values.push(match value {
                Some(Value::Id(id)) => Some(*id),
                _ => None,
            }),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Int(values) => values.is_empty(),
            Self::Text(values) => values.is_empty(),
            Self::Id(values) => values.is_empty(),
        }
    }

    pub(crate) fn bind(self, query: Prepared) -> Prepared {
        match self {
            Self::Int(values) => query.bind(values),
            Self::Text(values) => query.bind(values),
            Self::Id(values) => query.bind(values),
        }
    }
}

/// The engine's type of a column.
pub(crate) fn sql_type(r#type: ColumnType) -> &'static str {
    match r#type {
        ColumnType::Int => "bigint",
        ColumnType::Text => "text",
        ColumnType::Id => "uuid",
    }
}

/// A body as the engine takes it. The store's door has let only UTF-8 through.
pub(crate) fn text(body: &[u8]) -> Result<&str, fleet_core::store::Error> {
    std::str::from_utf8(body).map_err(|_| fleet_core::store::Error::Invalid("a body is not UTF-8".into()))
}

/// A number as the engine has it.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Reads a number that is never negative.
pub(crate) fn read_uint(row: &PgRow, column: usize) -> Result<u64, sqlx::Error> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Reads the number of a row.
pub(crate) fn read_n(row: &PgRow, column: usize) -> Result<u32, sqlx::Error> {
    let value: i64 = row.try_get(column)?;
    u32::try_from(value).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Reads a body, byte for byte as it was written.
pub(crate) fn read_body(row: &PgRow, column: usize) -> Result<bytes::Bytes, sqlx::Error> {
    row.try_get_unchecked::<Vec<u8>, _>(column).map(bytes::Bytes::from)
}

/// Reads a value of a column.
pub(crate) fn read_value(row: &PgRow, column: usize, r#type: ColumnType) -> Result<Value, sqlx::Error> {
    Ok(match r#type {
        ColumnType::Int => row.try_get::<Option<i64>, _>(column)?.into(),
        ColumnType::Text => row.try_get::<Option<String>, _>(column)?.into(),
        ColumnType::Id => row.try_get::<Option<Uuid>, _>(column)?.into(),
    })
}

/// Reads a digest or a sum of fixed length.
pub(crate) fn read_array<const N: usize>(row: &PgRow, column: usize) -> Result<[u8; N], sqlx::Error> {
    let bytes: Vec<u8> = row.try_get(column)?;
    <[u8; N]>::try_from(bytes.as_slice()).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_stay_apart_and_within_what_the_engine_keeps() {
        let long = "x".repeat(40);
        let (one, two) = (
            Ident::new(&["kind", &long, &format!("{long}1")]),
            Ident::new(&["kind", &long, &format!("{long}2")]),
        );
        assert_eq!(one.bare().len(), NAME);
        assert_ne!(one, two);
        assert_eq!(Ident::new(&["kind", "a\"b;"]).to_string(), "\"kind.ab\"");
    }
}
