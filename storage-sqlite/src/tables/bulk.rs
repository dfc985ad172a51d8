//! Many records with one statement: inserting them, for a store that is being filled, and reading them, for one that is moved.

use fleet_core::store::Value;

use crate::sql::{Ident, Prepared, Sql};

/// Parameters of the longest statement. Longer ones gain nothing: the way to the engine's thread does not count any more.
const PARAMETERS: usize = 4_096;

/// Plain inserts of many rows. One that fails is not taken back alone: its transaction has to be, and the engine is spared the notes
/// for anything less.
#[derive(Debug)]
pub(crate) struct Inserts {
    /// Rows of a statement, and the statement: the longest first, down to one row.
    sizes: Vec<(usize, Sql)>,
}

impl Inserts {
    /// `columns` are names of this crate or [`Ident`]s.
    pub(super) fn new(table: &Ident, columns: &[String]) -> Self {
        let row = format!("({})", vec!["?"; columns.len()].join(", "));
        let columns = columns.join(", ");
        let mut size = (PARAMETERS / row.len().div_ceil(3)).max(1);
        let mut sizes = Vec::new();
        loop {
            let rows = vec![row.as_str(); size].join(", ");
            sizes.push((
                size,
                Sql::new(format!("INSERT OR FAIL INTO {table} ({columns}) VALUES {rows}")),
            ));
            if size == 1 {
                return Self { sizes };
            }
            size = (size / 8).max(1);
        }
    }

    /// The statements for these rows, in their order; `bind` binds the columns of one.
    pub(crate) fn of<R>(&self, mut rows: &[R], bind: impl Fn(Prepared, &R) -> Prepared, into: &mut Vec<Prepared>) {
        for (size, sql) in &self.sizes {
            while let Some((now, later)) = rows.split_at_checked(*size) {
                into.push(now.iter().fold(sql.query(), &bind));
                rows = later;
            }
        }
    }
}

/// Binds a value of a column.
pub(crate) fn bind_value(query: Prepared, value: Option<&Value>) -> Prepared {
    match value {
        None | Some(Value::Null) => query.bind(None::<i64>),
        Some(Value::Int(value)) => query.bind(*value),
        Some(Value::Text(text)) => query.bind(text.clone()),
        Some(Value::Id(id)) => query.bind(id.as_bytes().to_vec()),
    }
}

/// A column of a page.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'f> {
    /// Bytes of fixed length, one value behind the other.
    Bytes(&'f str),
    /// Numbers, with commas between them.
    Int(&'f str),
}

/// A page of a table as one row of the engine: what costs time is each row on its way from the engine's thread to ours, and each
/// value's copy. A field is the values of all rows, bodies come last, one behind the other. None of the values is null: the engine
/// would leave it out.
#[derive(Debug)]
pub(crate) struct Pages {
    /// How long the bodies of the page are, with commas between them; null when there are none. Reads no body.
    pub(crate) lengths: Sql,
    /// The fields and the bodies.
    pub(crate) page: Sql,
}

impl Pages {
    /// `behind` is the condition on the rows of the page, `order` the table's primary key, `limit` the last parameter.
    pub(super) fn new(table: &Ident, fields: &[(&str, Field<'_>)], behind: &str, order: &str, limit: &str) -> Self {
        let rows = format!("FROM {table} WHERE {behind} ORDER BY {order} LIMIT {limit}");
        let text = |name: &str| format!("CAST(group_concat(CAST({name} AS TEXT), '') AS BLOB)");
        let (mut all, mut inner) = (String::new(), String::new());
        for (name, field) in fields {
            match field {
                Field::Bytes(from) => {
                    all.push_str(&text(name));
                    inner.push_str(from);
                }
                Field::Int(from) => {
                    all.push_str(&format!("group_concat({name})"));
                    inner.push_str(from);
                }
            }
            all.push_str(", ");
            inner.push_str(&format!(" AS {name}, "));
        }
        Self {
            lengths: Sql::new(format!(
                "SELECT group_concat(length) FROM (SELECT length(body) AS length {rows})"
            )),
            page: Sql::new(format!("SELECT {all}{} FROM (SELECT {inner}body {rows})", text("body"))),
        }
    }
}
