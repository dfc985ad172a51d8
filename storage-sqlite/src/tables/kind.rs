//! The tables of a kind.

use std::sync::Arc;

use fleet_core::store::{Column, ColumnType, KindSchema, Name};

use super::{Field, Inserts, Pages, add_column, sql_type};
use crate::{
    sql::{Ident, Sql, packed},
    writer::Changed,
};

/// A kind and its statements. `…(pack)` names the fields that the statement's [`crate::pack::Pack`] has.
#[derive(Debug)]
pub(crate) struct KindTable {
    pub(crate) kind: Arc<KindSchema>,
    pub(crate) table: Ident,
    /// Where its single-valued columns stand among all, in the order of their names: whatever order a version declares them in, sums
    /// of another can be read.
    pub(crate) singles: Vec<usize>,
    pub(crate) many: Vec<ManyTable>,
    /// `id, rev, seq, body` of the documents (id).
    pub(crate) get: Sql,
    /// The same of one document; its id is bound.
    pub(crate) get_one: Sql,
    /// `id, rev, seq` and the bodies after an id, at most so many.
    pub(crate) pages: Pages,
    /// Inserts new ones: id, rev, seq, sums, single values …, body.
    pub(crate) inserts: Inserts,
    /// `id, rev, _singles, _many` (id).
    pub(crate) facts: Sql,
    /// By column: `value, id` of those who hold unique values (value).
    pub(crate) holders: Vec<(Name, ColumnType, Sql)>,
    /// Inserts new ones (id, rev, seq, sums, single values …, body).
    pub(crate) insert: Sql,
    /// Frees unique values, so that they may be swapped (id).
    pub(crate) free: Option<Sql>,
    /// Removes documents (id).
    pub(crate) delete: Sql,
    /// Sets single values and sums (id, sums, single values …).
    pub(crate) fill: Sql,
    /// `id, rev, seq, _singles, _many, body, single values …` after an id, at most so many.
    pub(crate) walk: Sql,
}

impl KindTable {
    pub(crate) fn new(kind: &Arc<KindSchema>) -> Self {
        let table = Ident::new(&["kind", kind.name]);
        let ones: Vec<&Column> = kind.columns.iter().filter(|column| !column.many).collect();
        let named = |of: &dyn Fn(&Ident) -> String| -> String {
            ones.iter().map(|column| of(&Ident::new(&[column.name]))).collect()
        };
        let values = |first: usize| -> (String, usize) {
            let text = ones
                .iter()
                .enumerate()
                .map(|(n, column)| format!(", {}", packed::value(first + n, column.r#type)))
                .collect();
            (text, first + ones.len())
        };
        let from = "FROM json_each(?1) j";
        let joined = format!("{from} CROSS JOIN {table} t ON t.id = {}", packed::id(0));
        let ids = format!("id IN (SELECT {} {from})", packed::id(0));
        let doc = "t.id, t.rev, t.seq, t.body";
        // Sums are the single values' bytes, which take two fields, and those of the many.
        let (insert_values, insert_body) = values(6);
        let (fill_values, _) = values(4);
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
                .map(|(position, column)| ManyTable::new(kind.name, position, column))
                .collect(),
            get: Sql::new(format!("SELECT {doc} {joined}")),
            get_one: Sql::new(format!("SELECT {doc} FROM {table} t WHERE t.id = ?1")),
            pages: Pages::new(
                &table,
                &[
                    ("id", Field::Bytes("id")),
                    ("rev", Field::Int("rev")),
                    ("seq", Field::Int("seq")),
                ],
                "id > ?1",
                "id",
                "?2",
            ),
            inserts: Inserts::new(
                &table,
                &["id", "rev", "seq", "_singles", "_many"]
                    .map(String::from)
                    .into_iter()
                    .chain(ones.iter().map(|column| Ident::new(&[column.name]).to_string()))
                    .chain([String::from("body")])
                    .collect::<Vec<_>>(),
            ),
            facts: Sql::new(format!("SELECT t.id, t.rev, t._singles, t._many {joined}")),
            holders: uniques
                .iter()
                .map(|column| {
                    let index = Ident::new(&["unique", kind.name, column.name]);
                    let name = Ident::new(&[column.name]);
                    let value = packed::value(0, column.r#type);
                    let text = format!(
                        "SELECT t.{name}, t.id {from} CROSS JOIN {table} t INDEXED BY {index} ON t.{name} = {value} \
                         WHERE t.{name} IS NOT NULL"
                    );
                    (column.name, column.r#type, Sql::new(text))
                })
                .collect(),
            insert: Sql::new(format!(
                "INSERT OR FAIL INTO {table} (id, rev, seq, _singles, _many{names}, body) \
                 SELECT {id}, {rev}, {seq}, {singles}, {many}{insert_values}, {body} {from}",
                names = named(&|name| format!(", {name}")),
                id = packed::id(0),
                rev = packed::plain(1),
                seq = packed::plain(2),
                singles = packed::bytes(3),
                many = packed::id(5),
                body = packed::bytes(insert_body),
            )),
            free: (!free.is_empty()).then(|| Sql::new(format!("UPDATE {table} SET {} WHERE {ids}", free.join(", ")))),
            delete: Sql::new(format!("DELETE FROM {table} WHERE {ids}")),
            fill: Sql::new(format!(
                "INSERT INTO {table} (id, rev, seq, _singles, _many{names}, body) \
                 SELECT {id}, 0, 0, {singles}, {many}{fill_values}, x'' {from} WHERE true \
                 ON CONFLICT (id) DO UPDATE SET _singles = excluded._singles, _many = excluded._many{sets}",
                names = named(&|name| format!(", {name}")),
                id = packed::id(0),
                singles = packed::bytes(1),
                many = packed::id(3),
                sets = named(&|name| format!(", {name} = excluded.{name}")),
            )),
            walk: Sql::new(format!(
                "SELECT t.id, t.rev, t.seq, t._singles, t._many, t.body{} FROM {table} t WHERE t.id > ?1 ORDER BY t.id LIMIT ?2",
                named(&|name| format!(", t.{name}"))
            )),
            singles: {
                let mut singles: Vec<usize> = (0..kind.columns.len()).filter(|n| !kind.columns[*n].many).collect();
                singles.sort_by_key(|n| kind.columns[*n].name);
                singles
            },
            table,
            kind: Arc::clone(kind),
        }
    }

    /// The single-valued columns and their places among all, in the order of the table.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.kind.columns.iter().enumerate().filter(|(_, column)| !column.many)
    }

    /// The single-valued columns of which some documents have new values, in the order of [`KindTable::replace`].
    pub(crate) fn changed(&self, changed: Changed) -> impl Iterator<Item = (usize, &Column)> {
        let all = self.singles.iter().enumerate();
        all.filter(move |(place, _)| changed.has(*place))
            .filter_map(|(_, position)| Some((*position, self.kind.columns.get(*position)?)))
    }

    /// Replaces documents that are there, and of their single values some (id, rev, seq, sums, these single values …, body). Indexes
    /// without one of these columns are not touched.
    ///
    /// Written as an insert, so that the engine cannot choose to scan the table.
    pub(crate) fn replace(&self, changed: Changed) -> Sql {
        let (mut names, mut values, mut sets, mut field) = (String::new(), String::new(), String::new(), 6);
        for (_, column) in self.changed(changed) {
            let name = Ident::new(&[column.name]);
            names.push_str(&format!(", {name}"));
            values.push_str(&format!(", {}", packed::value(field, column.r#type)));
            sets.push_str(&format!(", {name} = excluded.{name}"));
            field += 1;
        }
        Sql::new(format!(
            "INSERT OR FAIL INTO {table} (id, rev, seq, _singles, _many{names}, body) \
             SELECT {id}, {rev}, {seq}, {singles}, {many}{values}, {body} FROM json_each(?1) j WHERE true \
             ON CONFLICT (id) DO UPDATE SET rev = excluded.rev, seq = excluded.seq, _singles = excluded._singles, \
             _many = excluded._many{sets}, body = excluded.body",
            table = self.table,
            id = packed::id(0),
            rev = packed::plain(1),
            seq = packed::plain(2),
            singles = packed::bytes(3),
            many = packed::id(5),
            body = packed::bytes(field),
        ))
    }

    /// Whether any of these columns is unique.
    pub(crate) fn has_unique(&self, changed: Changed) -> bool {
        self.changed(changed).any(|(_, column)| column.unique)
    }

    /// The many-valued column's table.
    pub(crate) fn many(&self, column: Name) -> Option<&ManyTable> {
        self.many.iter().find(|many| many.column.name == column)
    }

    pub(crate) fn column_index(&self, column: Name) -> Ident {
        Ident::new(&["kind", self.kind.name, column])
    }

    pub(crate) fn composite_index(&self, columns: &[Name]) -> Ident {
        Ident::new(&[&["kind", self.kind.name], columns].concat())
    }

    /// Makes the table. Columns are added one by one, as they are to a table that is there.
    pub(crate) fn create(&self) -> Sql {
        Sql::new(format!(
            "CREATE TABLE {} (id BLOB NOT NULL PRIMARY KEY, rev INTEGER NOT NULL, seq INTEGER NOT NULL, _singles BLOB NOT NULL, \
             _many BLOB NOT NULL, body BLOB NOT NULL) STRICT",
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

    /// Makes the indexes of a column, once it is filled.
    pub(crate) fn create_indexes(&self, column: &Column) -> Vec<Sql> {
        if column.many {
            return Vec::new();
        }
        let (table, name, index) = (&self.table, Ident::new(&[column.name]), self.column_index(column.name));
        let mut all = vec![Sql::new(format!(
            "CREATE INDEX IF NOT EXISTS {index} ON {table} ({name}, id)"
        ))];
        if column.unique {
            let index = Ident::new(&["unique", self.kind.name, column.name]);
            all.push(Sql::new(format!(
                "CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {table} ({name}) WHERE {name} IS NOT NULL"
            )));
        }
        all
    }

    /// The composite indexes: name and statement. One of a single column is the column's own.
    pub(crate) fn composite_indexes(&self) -> Vec<(Ident, Sql)> {
        self.kind
            .indexes
            .iter()
            .filter(|columns| columns.len() > 1)
            .map(|columns| {
                let index = self.composite_index(columns);
                let names: String = columns
                    .iter()
                    .map(|column| format!("{}, ", Ident::new(&[column])))
                    .collect();
                let text = format!("CREATE INDEX IF NOT EXISTS {index} ON {} ({names}id)", self.table);
                (index, Sql::new(text))
            })
            .collect()
    }

    /// The indexes that a store does without while it is filled: name and statement. Unique ones are not among them, they are asked
    /// while it is.
    pub(crate) fn put_off(&self) -> Vec<(Ident, Sql)> {
        let ones = self.kind.columns.iter().filter(|column| !column.many);
        let mut all: Vec<(Ident, Sql)> = ones
            .flat_map(|column| {
                let name = self.column_index(column.name);
                self.create_indexes(column)
                    .into_iter()
                    .take(1)
                    .map(move |sql| (name.clone(), sql))
            })
            .collect();
        all.extend(self.composite_indexes());
        all.extend(self.many.iter().map(|many| (many.index.clone(), many.create_index())));
        all
    }

    /// Two documents of one value of a column.
    pub(crate) fn clash(&self, column: &Column) -> Sql {
        let name = Ident::new(&[column.name]);
        Sql::new(format!(
            "SELECT min(t.id) FROM {} t WHERE t.{name} IS NOT NULL GROUP BY t.{name} HAVING count(*) > 1 LIMIT 1",
            self.table
        ))
    }
}

/// The values of a many-valued column, kept by id: documents that are filled in come in the order of their ids, and one that is
/// replaced gives up its values without the index.
#[derive(Debug)]
pub(crate) struct ManyTable {
    /// Its place among the kind's columns.
    pub(crate) position: usize,
    pub(crate) column: Column,
    pub(crate) table: Ident,
    /// By value.
    index: Ident,
    /// Adds what is not there yet (value, place of the id).
    pub(crate) insert: Sql,
    /// Inserts new ones: id, value.
    pub(crate) inserts: Inserts,
    /// Removes what documents have no longer: their ids as `?1` and `?2` (id), what they have now as `?3` and `?4` (value,
    /// place of the id).
    pub(crate) keep: Sql,
    /// Removes all of some documents (id).
    pub(crate) delete: Sql,
    /// `id, value` after the first id, up to and including the second. Numbers of an id come as one row, in no order and with
    /// commas between them: some documents have a thousand, and each row on its way from the engine's thread costs time.
    pub(crate) walk: Sql,
}

impl ManyTable {
    fn new(kind: Name, position: usize, column: &Column) -> Self {
        let table = Ident::new(&["many", kind, column.name]);
        let value = packed::value(0, column.r#type);
        let id = packed::id(1);
        let kept = |piece: &str| piece.replace("?2", "?4");
        Self {
            inserts: Inserts::new(&table, &["id", "value"].map(String::from)),
            insert: Sql::new(format!(
                "INSERT OR IGNORE INTO {table} (value, id) SELECT {value}, {id} FROM json_each(?1) j WHERE true"
            )),
            keep: Sql::new(format!(
                "DELETE FROM {table} WHERE id IN (SELECT {} FROM json_each(?1) j) \
                 AND (value, id) NOT IN (SELECT {}, {} FROM json_each(?3) j)",
                packed::id(0),
                kept(&value),
                kept(&id),
            )),
            delete: Sql::new(format!(
                "DELETE FROM {table} WHERE id IN (SELECT {} FROM json_each(?1) j)",
                packed::id(0)
            )),
            walk: Sql::new(match column.r#type {
                ColumnType::Int => format!(
                    "SELECT m.id, group_concat(m.value) FROM {table} m WHERE m.id > ?1 AND m.id <= ?2 GROUP BY m.id"
                ),
                _ => {
                    format!("SELECT m.id, m.value FROM {table} m WHERE m.id > ?1 AND m.id <= ?2 ORDER BY m.id, m.value")
                }
            }),
            index: Ident::new(&["many", kind, column.name, "value"]),
            table,
            position,
            column: *column,
        }
    }

    fn create(&self) -> Vec<Sql> {
        let (table, r#type) = (&self.table, sql_type(self.column.r#type));
        vec![
            Sql::new(format!(
                "CREATE TABLE {table} (id BLOB NOT NULL, value {type} NOT NULL, PRIMARY KEY (id, value)) STRICT, WITHOUT ROWID"
            )),
            self.create_index(),
        ]
    }

    fn create_index(&self) -> Sql {
        let (table, index) = (&self.table, &self.index);
        Sql::new(format!("CREATE INDEX IF NOT EXISTS {index} ON {table} (value, id)"))
    }
}
