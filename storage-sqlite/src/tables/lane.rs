//! The table of a lane.

use std::sync::Arc;

use fleet_core::store::{Column, LaneSchema, Name};

use super::{Field, Inserts, Pages, add_column};
use crate::sql::{Ident, Sql, packed};

/// A lane and its statements.
#[derive(Debug)]
pub(crate) struct LaneTable {
    pub(crate) lane: Arc<LaneSchema>,
    pub(crate) table: Ident,
    /// `stream, at, n, body, [number, hash]` of the rows (stream, at, n).
    pub(crate) places: Sql,
    /// Inserts rows (stream, at, n, values …, number and hash where chained, body).
    pub(crate) insert: Sql,
    /// The same, in the place of what is there.
    pub(crate) replace: Sql,
    /// Inserts new ones: stream, at, n, values …, number and hash where chained, body.
    pub(crate) inserts: Inserts,
    /// `stream, at, n, [number, hash]` and the bodies after a place, at most so many. A row without a link has the number -1.
    pub(crate) pages: Pages,
    /// Removes rows (stream, at, n).
    pub(crate) remove: Sql,
    /// Removes so many rows before a time.
    pub(crate) trim: Sql,
    /// Sets values (stream, at, n, values …).
    pub(crate) fill: Sql,
    /// `stream, at, n, body, [number, hash,] values …` after a place, at most so many.
    pub(crate) walk: Sql,
    /// `stream, at, n, body, number, hash` by number.
    pub(crate) chain: Sql,
}

impl LaneTable {
    pub(super) fn new(lane: &Arc<LaneSchema>) -> Self {
        let table = Ident::new(&["lane", lane.name]);
        let named = |of: &dyn Fn(&Ident) -> String| -> String {
            lane.columns
                .iter()
                .map(|column| of(&Ident::new(&[column.name])))
                .collect()
        };
        let mut values: String = lane
            .columns
            .iter()
            .enumerate()
            .map(|(n, column)| format!(", {}", packed::value(3 + n, column.r#type)))
            .collect();
        let mut names = named(&|name| format!(", {name}"));
        let fill_values = values.clone();
        let fill_names = names.clone();
        let mut body = 3 + lane.columns.len();
        let link = if lane.chained { ", t._number, t._hash" } else { "" };
        if lane.chained {
            names.push_str(", _number, _hash");
            values.push_str(&format!(", {}, {}", packed::plain(body), packed::bytes(body + 1)));
            body += 3;
        }
        let place = format!("{}, {}, {}", packed::id(0), packed::plain(1), packed::plain(2));
        let from = "FROM json_each(?1) j";
        let inserted = format!(
            "{table} (stream, at, n{names}, body) SELECT {place}{values}, {} {from}",
            packed::bytes(body)
        );
        let index = Ident::new(&["lane", lane.name, "at"]);
        let sets: Vec<String> = lane
            .columns
            .iter()
            .map(|column| {
                let name = Ident::new(&[column.name]);
                format!("{name} = excluded.{name}")
            })
            .collect();
        let mut columns = ["stream", "at", "n"].map(String::from).to_vec();
        columns.extend(lane.columns.iter().map(|column| Ident::new(&[column.name]).to_string()));
        let mut fields = vec![
            ("stream", Field::Bytes("stream")),
            ("at", Field::Int("at")),
            ("n", Field::Int("n")),
        ];
        if lane.chained {
            columns.extend(["_number", "_hash"].map(String::from));
            fields.push(("number", Field::Int("coalesce(_number, -1)")));
            fields.push(("hash", Field::Bytes("coalesce(_hash, zeroblob(32))")));
        }
        columns.push(String::from("body"));
        Self {
            inserts: Inserts::new(&table, &columns),
            pages: Pages::new(&table, &fields, "(stream, at, n) > (?1, ?2, ?3)", "stream, at, n", "?4"),
            places: Sql::new(format!(
                "SELECT t.stream, t.at, t.n, t.body{link} {from} CROSS JOIN {table} t \
                 ON t.stream = {} AND t.at = {} AND t.n = {}",
                packed::id(0),
                packed::plain(1),
                packed::plain(2)
            )),
            insert: Sql::new(format!("INSERT OR FAIL INTO {inserted}")),
            replace: Sql::new(format!("INSERT OR REPLACE INTO {inserted}")),
            remove: Sql::new(format!(
                "DELETE FROM {table} WHERE (stream, at, n) IN (SELECT {place} {from})"
            )),
            trim: Sql::new(format!(
                "DELETE FROM {table} WHERE (stream, at, n) IN (SELECT t.stream, t.at, t.n FROM {table} t INDEXED BY {index} \
                 WHERE t.at < ?1 ORDER BY t.at, t.stream, t.n LIMIT ?2)"
            )),
            fill: Sql::new(if sets.is_empty() {
                String::from("SELECT 1")
            } else {
                format!(
                    "INSERT INTO {table} (stream, at, n{fill_names}, body) SELECT {place}{fill_values}, x'' {from} WHERE true \
                     ON CONFLICT (stream, at, n) DO UPDATE SET {}",
                    sets.join(", ")
                )
            }),
            walk: Sql::new(format!(
                "SELECT t.stream, t.at, t.n, t.body{link}{} FROM {table} t WHERE (t.stream, t.at, t.n) > (?1, ?2, ?3) \
                 ORDER BY t.stream, t.at, t.n LIMIT ?4",
                named(&|name| format!(", t.{name}"))
            )),
            chain: Sql::new(format!(
                "SELECT t.stream, t.at, t.n, t.body{link} FROM {table} t{}",
                if lane.chained { " ORDER BY t._number" } else { "" }
            )),
            table,
            lane: Arc::clone(lane),
        }
    }

    pub(crate) fn column_index(&self, column: Name) -> Ident {
        Ident::new(&["lane", self.lane.name, column])
    }

    pub(crate) fn time_index(&self) -> Ident {
        Ident::new(&["lane", self.lane.name, "at"])
    }

    pub(crate) fn create(&self) -> Vec<Sql> {
        let table = &self.table;
        // Nullable, so that filling a column later can be written as an upsert; the core gives every chained row a link.
        let link = if self.lane.chained {
            "_number INTEGER, _hash BLOB, "
        } else {
            ""
        };
        let mut all = vec![
            Sql::new(format!(
                "CREATE TABLE {table} (stream BLOB NOT NULL, at INTEGER NOT NULL, n INTEGER NOT NULL, {link}\
                 body BLOB NOT NULL, PRIMARY KEY (stream, at, n)) STRICT, WITHOUT ROWID"
            )),
            self.create_time_index(),
        ];
        all.extend(self.create_link_index().map(|(_, sql)| sql));
        all
    }

    fn create_time_index(&self) -> Sql {
        let (table, index) = (&self.table, self.time_index());
        Sql::new(format!("CREATE INDEX IF NOT EXISTS {index} ON {table} (at, stream, n)"))
    }

    fn create_link_index(&self) -> Option<(Ident, Sql)> {
        let (table, index) = (&self.table, Ident::new(&["lane", self.lane.name, "link"]));
        let sql = Sql::new(format!(
            "CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {table} (_number)"
        ));
        self.lane.chained.then_some((index, sql))
    }

    /// The indexes that a store does without while it is filled: name and statement.
    pub(crate) fn put_off(&self) -> Vec<(Ident, Sql)> {
        let mut all = vec![(self.time_index(), self.create_time_index())];
        all.extend(self.create_link_index());
        all.extend(
            self.lane
                .columns
                .iter()
                .map(|column| (self.column_index(column.name), self.create_index(column))),
        );
        all
    }

    pub(crate) fn create_column(&self, column: &Column) -> Sql {
        add_column(&self.table, column)
    }

    pub(crate) fn create_index(&self, column: &Column) -> Sql {
        let (table, name, index) = (&self.table, Ident::new(&[column.name]), self.column_index(column.name));
        Sql::new(format!(
            "CREATE INDEX IF NOT EXISTS {index} ON {table} ({name}, at, stream, n)"
        ))
    }
}
