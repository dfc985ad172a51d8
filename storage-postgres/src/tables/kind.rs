//! The tables of a kind.

use std::sync::Arc;

use fleet_core::store::{Column, ColumnType, KindSchema, Name};

use uuid::Uuid;

use super::add_column;
use crate::sql::{Ident, Sql, Table, sql_type};

/// A kind and its statements.
#[derive(Debug)]
pub(crate) struct KindTable {
    pub(crate) kind: Arc<KindSchema>,
    pub(crate) table: Table,
    pub(crate) many: Vec<ManyTable>,
    /// The columns of one value, in their order.
    pub(crate) ones: Vec<(usize, Column)>,
    /// `id, rev, seq, body` of the documents (ids).
    pub(crate) get: Sql,
    /// `id, rev, _many` (ids).
    pub(crate) facts: Sql,
    /// By column: `value, id` of those who hold unique values (values).
    pub(crate) holders: Vec<(Name, ColumnType, Sql)>,
    /// Copies new documents (id, rev, seq, sum, body, single values …).
    pub(crate) insert: Sql,
    /// Replaces documents that are there (ids, revs, seqs, sums, bodies, single values …).
    pub(crate) update: Sql,
    /// Frees unique values, so that they may be swapped (ids).
    pub(crate) free: Option<Sql>,
    /// Removes documents (ids).
    pub(crate) delete: Sql,
    /// Sets single values and sums (ids, sums, single values …).
    pub(crate) fill: Sql,
    /// `id, rev, seq, body` after an id (or null), at most so many.
    pub(crate) page: Sql,
    /// `id, rev, seq, body, _many, single values …` after an id (or null), at most so many.
    pub(crate) walk: Sql,
}

impl KindTable {
    pub(super) fn new(namespace: &Ident, kind: &Arc<KindSchema>) -> Self {
        let table = Table::new(namespace, &["kind", kind.name]);
        let numbered = kind.columns.iter().copied().enumerate();
        let ones: Vec<(usize, Column)> = numbered.filter(|(_, column)| !column.many).collect();
        let named = |of: &dyn Fn(usize, &Ident) -> String| -> String {
            let each = ones.iter().enumerate();
            each.map(|(n, (_, column))| of(n, &Ident::new(&[column.name])))
                .collect()
        };
        let arrays = |first: usize| -> String {
            let each = ones.iter().enumerate();
            each.map(|(n, (_, column))| format!(", ${}::{}[]", first + n, sql_type(column.r#type)))
                .collect()
        };
        let places = named(&|n, _| format!(", c{n}"));
        let uniques: Vec<&Column> = kind.columns.iter().filter(|column| column.unique).collect();
        let free: Vec<String> = uniques
            .iter()
            .map(|column| format!("{} = NULL", Ident::new(&[column.name])))
            .collect();
        Self {
            many: kind
                .columns
                .iter()
                .enumerate()
                .filter(|(_, column)| column.many)
                .map(|(position, column)| ManyTable::new(namespace, kind.name, position, column))
                .collect(),
            get: Sql::new(format!(
                "SELECT t.id, t.rev, t.seq, t.body FROM {table} t WHERE t.id = ANY($1)"
            )),
            facts: Sql::new(format!(
                "SELECT t.id, t.rev, t._many FROM {table} t WHERE t.id = ANY($1)"
            )),
            holders: uniques
                .iter()
                .map(|column| {
                    let name = Ident::new(&[column.name]);
                    let text = format!("SELECT t.{name}, t.id FROM {table} t WHERE t.{name} = ANY($1)");
                    (column.name, column.r#type, Sql::new(text))
                })
                .collect(),
            insert: Sql::new(format!(
                "COPY {table} (id, rev, seq, _many, body{}) FROM STDIN (FORMAT binary)",
                named(&|_, name| format!(", {name}"))
            )),
            update: Sql::new(format!(
                "UPDATE {table} t SET rev = j.rev, seq = j.seq, _many = j.many, body = j.body::json{sets} \
                 FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bytea[], $5::text[]{arrays}) \
                 AS j(id, rev, seq, many, body{places}) WHERE t.id = j.id",
                arrays = arrays(6),
                sets = named(&|n, name| format!(", {name} = j.c{n}")),
            )),
            free: (!free.is_empty())
                .then(|| Sql::new(format!("UPDATE {table} SET {} WHERE id = ANY($1)", free.join(", ")))),
            delete: Sql::new(format!("DELETE FROM {table} WHERE id = ANY($1)")),
            fill: Sql::new(format!(
                "UPDATE {table} t SET _many = j.many{sets} FROM unnest($1::uuid[], $2::bytea[]{arrays}) \
                 AS j(id, many{places}) WHERE t.id = j.id",
                arrays = arrays(3),
                sets = named(&|n, name| format!(", {name} = j.c{n}")),
            )),
            page: Sql::new(format!(
                "SELECT t.id, t.rev, t.seq, t.body FROM {table} t WHERE $1::uuid IS NULL OR t.id > $1 ORDER BY t.id LIMIT $2"
            )),
            walk: Sql::new(format!(
                "SELECT t.id, t.rev, t.seq, t.body, t._many{} FROM {table} t WHERE $1::uuid IS NULL OR t.id > $1 \
                 ORDER BY t.id LIMIT $2",
                named(&|_, name| format!(", t.{name}"))
            )),
            table,
            ones,
            kind: Arc::clone(kind),
        }
    }

    /// `number, id, rev, _many` of the documents, for a message without bound values.
    pub(crate) fn facts_of(&self, number: usize, ids: &[Uuid]) -> Sql {
        let ids: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
        Sql::new(format!(
            "SELECT {number}::bigint, t.id, t.rev, t._many FROM {} t WHERE t.id = ANY('{{{}}}'::uuid[])",
            self.table,
            ids.join(",")
        ))
    }

    /// The many-valued column's table.
    pub(crate) fn many(&self, column: Name) -> Option<&ManyTable> {
        self.many.iter().find(|many| many.column.name == column)
    }

    /// Makes the table. Columns are added one by one, as they are to a table that is there.
    pub(crate) fn create(&self) -> Sql {
        // Room on each page, so that a write that changes no index stays on it.
        Sql::new(format!(
            "CREATE TABLE {} (id uuid NOT NULL PRIMARY KEY, rev bigint NOT NULL, seq bigint NOT NULL, \
             _many bytea NOT NULL, body json NOT NULL) WITH (fillfactor = 80)",
            self.table
        ))
    }

    /// Makes room for a column.
    pub(crate) fn create_column(&self, column: &Column) -> Vec<Sql> {
        match self.many(column.name) {
            Some(many) => many.create(),
            None => vec![add_column(&self.table, column)],
        }
    }

    /// Forgets what a column held, and its indexes.
    pub(crate) fn drop_column(&self, namespace: &Ident, column: &str, many: bool) -> Sql {
        if many {
            let table = Table::new(namespace, &["many", self.kind.name, column]);
            return Sql::new(format!("DROP TABLE IF EXISTS {table} CASCADE"));
        }
        super::drop_column(&self.table, column)
    }

    /// The unique index of a column.
    pub(crate) fn create_unique(&self, column: &Column) -> Sql {
        let (table, name) = (&self.table, Ident::new(&[column.name]));
        let index = Ident::new(&["unique", self.kind.name, column.name]);
        Sql::new(format!("CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {table} ({name})"))
    }

    /// All other indexes: name and statement.
    pub(crate) fn indexes(&self) -> Vec<(Ident, Sql)> {
        let singles = self
            .ones
            .iter()
            .map(|(_, column)| std::slice::from_ref(&column.name).to_vec());
        let composites = self.kind.indexes.iter().filter(|columns| columns.len() > 1).cloned();
        singles.chain(composites).map(|columns| self.index(&columns)).collect()
    }

    fn index(&self, columns: &[Name]) -> (Ident, Sql) {
        let index = Ident::new(&[&["kind", self.kind.name], columns].concat());
        // An entry of an index holds 2,704 bytes: two of the longest texts, not three.
        let mut texts = 0;
        let is_text = |name: &Name| {
            let mut columns = self.kind.columns.iter();
            columns.any(|column| column.name == *name && column.r#type == ColumnType::Text)
        };
        let held = columns.iter().take_while(|name| {
            texts += usize::from(is_text(name));
            texts <= 2
        });
        let mut names: Vec<String> = held
            .map(|name| format!("{} NULLS FIRST", Ident::new(&[name])))
            .collect();
        if names.len() == columns.len() {
            names.push("id".into());
        }
        let text = format!(
            "CREATE INDEX IF NOT EXISTS {index} ON {} ({})",
            self.table,
            names.join(", ")
        );
        (index, Sql::new(text))
    }

    /// A document that shares its value of a column with another.
    pub(crate) fn clash(&self, column: &Column) -> Sql {
        let name = Ident::new(&[column.name]);
        Sql::new(format!(
            "SELECT t.id FROM {table} t JOIN {table} o ON o.{name} = t.{name} AND o.id > t.id ORDER BY t.id LIMIT 1",
            table = self.table
        ))
    }
}

/// The values of a many-valued column.
#[derive(Debug)]
pub(crate) struct ManyTable {
    /// Its place among the kind's columns.
    pub(crate) position: usize,
    pub(crate) column: Column,
    pub(crate) table: Table,
    /// Adds what is not there yet (values, ids).
    pub(crate) insert: Sql,
    /// Copies what is not there (value, id).
    pub(crate) copy: Sql,
    /// Removes what documents have no longer (ids; then what they have now: values, ids).
    pub(crate) keep: Sql,
    /// Removes all of some documents (ids).
    pub(crate) delete: Sql,
    /// `id, value` after the first id (or null), up to and including the second (or null).
    pub(crate) walk: Sql,
}

impl ManyTable {
    fn new(namespace: &Ident, kind: Name, position: usize, column: &Column) -> Self {
        let table = Table::new(namespace, &["many", kind, column.name]);
        let r#type = sql_type(column.r#type);
        Self {
            insert: Sql::new(format!(
                "INSERT INTO {table} (value, id) SELECT j.value, j.id FROM unnest($1::{type}[], $2::uuid[]) \
                 AS j(value, id) ON CONFLICT DO NOTHING"
            )),
            copy: Sql::new(format!("COPY {table} (value, id) FROM STDIN (FORMAT binary)")),
            keep: Sql::new(format!(
                "DELETE FROM {table} WHERE id = ANY($1) AND (value, id) NOT IN \
                 (SELECT j.value, j.id FROM unnest($2::{type}[], $3::uuid[]) AS j(value, id))"
            )),
            delete: Sql::new(format!("DELETE FROM {table} WHERE id = ANY($1)")),
            walk: Sql::new(format!(
                "SELECT m.id, m.value FROM {table} m WHERE ($1::uuid IS NULL OR m.id > $1) \
                 AND ($2::uuid IS NULL OR m.id <= $2) ORDER BY m.id, m.value"
            )),
            table,
            position,
            column: *column,
        }
    }

    fn create(&self) -> Vec<Sql> {
        let (table, r#type) = (&self.table, super::column_type(self.column.r#type));
        let create = Sql::new(format!(
            "CREATE TABLE {table} (value {type} NOT NULL, id uuid NOT NULL)"
        ));
        vec![create, self.by_document().1, self.by_value().1]
    }

    /// The order of documents: name and statement.
    pub(crate) fn by_document(&self) -> (Ident, Sql) {
        let (table, index) = (&self.table, Ident::new(&[self.table.name.bare(), "id"]));
        let text = format!("CREATE INDEX IF NOT EXISTS {index} ON {table} (id, value)");
        (index, Sql::new(text))
    }

    /// The order of values, in which each stands once for a document: name and statement.
    pub(crate) fn by_value(&self) -> (Ident, Sql) {
        let (table, index) = (&self.table, Ident::new(&[self.table.name.bare(), "value"]));
        let text = format!("CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {table} (value, id)");
        (index, Sql::new(text))
    }
}
