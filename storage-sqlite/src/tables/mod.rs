//! The tables of a schema and the statements on them, made once when the store is prepared.
//!
//! ```text
//!   "kind.device"          id, rev, seq, a column per single-valued column, _singles, _many, body
//!     "kind.device.name"   (name, id): lists, both ways, and filters; "unique.device.name" beside it where it is unique
//!   "many.device.tag"      (id, value) for a many-valued column; "many.device.tag.value" (value, id)
//!   "lane.audit"           (stream, at, n), columns, _number and _hash where it is chained, body
//!     "lane.audit.at"      (at, stream, n); "lane.audit.actor" (actor, at, stream, n)
//!   "latest.state"         id, body
//! ```
//!
//! `_singles` and `_many` are sums of a document's single and many values: where they are unchanged, nothing but the body is
//! written, and of single values those that have changed. Foreign names stand in quotes and hold no dot of their own, so that names of tables never clash.

mod bulk;
mod kind;
mod lane;

use std::collections::HashMap;

use fleet_core::store::{Column, ColumnType, Error, LatestSchema, Name, Result, Schema};

use self::bulk::Field;
pub(crate) use self::{
    bulk::{Inserts, Pages, bind_value},
    kind::KindTable,
    lane::LaneTable,
};

use crate::sql::{Ident, Sql, packed};

/// A schema and its statements.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) schema: Schema,
    pub(crate) kinds: HashMap<Name, KindTable>,
    pub(crate) lanes: HashMap<Name, LaneTable>,
    pub(crate) latests: HashMap<Name, LatestTable>,
}

impl Tables {
    pub(crate) fn new(schema: &Schema) -> Self {
        Self {
            kinds: schema.kinds().map(|kind| (kind.name, KindTable::new(kind))).collect(),
            lanes: schema.lanes().map(|lane| (lane.name, LaneTable::new(lane))).collect(),
            latests: schema
                .latests()
                .map(|latest| (latest.name, LatestTable::new(latest)))
                .collect(),
            schema: schema.clone(),
        }
    }

    /// The indexes that a store does without while it is filled: name and statement.
    pub(crate) fn put_off(&self) -> Vec<(Ident, Sql)> {
        let mut all = Vec::new();
        for kind in self.schema.kinds() {
            all.extend(self.kinds.get(kind.name).map(KindTable::put_off).unwrap_or_default());
        }
        for lane in self.schema.lanes() {
            all.extend(self.lanes.get(lane.name).map(LaneTable::put_off).unwrap_or_default());
        }
        all
    }

    pub(crate) fn kind(&self, name: Name) -> Result<&KindTable> {
        self.kinds.get(name).ok_or_else(|| undeclared("kind", name))
    }

    pub(crate) fn lane(&self, name: Name) -> Result<&LaneTable> {
        self.lanes.get(name).ok_or_else(|| undeclared("lane", name))
    }

    pub(crate) fn latest(&self, name: Name) -> Result<&LatestTable> {
        self.latests
            .get(name)
            .ok_or_else(|| undeclared("set of latest values", name))
    }
}

fn undeclared(what: &str, name: Name) -> Error {
    Error::Invalid(format!("{what} {name} is not declared"))
}

fn sql_type(r#type: ColumnType) -> &'static str {
    match r#type {
        ColumnType::Int => "INTEGER",
        ColumnType::Text => "TEXT",
        ColumnType::Id => "BLOB",
    }
}

fn add_column(table: &Ident, column: &Column) -> Sql {
    let (name, r#type) = (Ident::new(&[column.name]), sql_type(column.r#type));
    Sql::new(format!("ALTER TABLE {table} ADD COLUMN {name} {type}"))
}

/// A set of latest values and its statements.
#[derive(Debug)]
pub(crate) struct LatestTable {
    pub(crate) table: Ident,
    /// `id` of those that are there (id).
    pub(crate) present: Sql,
    /// `id, body` (id).
    pub(crate) get: Sql,
    /// `id, body` after an id, at most so many.
    pub(crate) page: Sql,
    /// `id` and the bodies after an id, at most so many.
    pub(crate) pages: Pages,
    /// Inserts or replaces (id, body).
    pub(crate) upsert: Sql,
    /// Inserts new ones: id, body.
    pub(crate) inserts: Inserts,
    /// Removes (id).
    pub(crate) delete: Sql,
}

impl LatestTable {
    fn new(latest: &LatestSchema) -> Self {
        let table = Ident::new(&["latest", latest.name]);
        let (id, body) = (packed::id(0), packed::bytes(1));
        let from = "FROM json_each(?1) j";
        let joined = format!("{from} CROSS JOIN {table} t ON t.id = {id}");
        Self {
            present: Sql::new(format!("SELECT t.id {joined}")),
            get: Sql::new(format!("SELECT t.id, t.body {joined}")),
            page: Sql::new(format!(
                "SELECT t.id, t.body FROM {table} t WHERE t.id > ?1 ORDER BY t.id LIMIT ?2"
            )),
            pages: Pages::new(&table, &[("id", Field::Bytes("id"))], "id > ?1", "id", "?2"),
            inserts: Inserts::new(&table, &["id", "body"].map(String::from)),
            upsert: Sql::new(format!(
                "INSERT OR FAIL INTO {table} (id, body) SELECT {id}, {body} {from} WHERE true \
                 ON CONFLICT (id) DO UPDATE SET body = excluded.body"
            )),
            delete: Sql::new(format!("DELETE FROM {table} WHERE id IN (SELECT {id} {from})")),
            table,
        }
    }

    pub(crate) fn create(&self) -> Sql {
        Sql::new(format!(
            "CREATE TABLE {} (id BLOB NOT NULL PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID",
            self.table
        ))
    }
}

/// Forgets what a column held.
pub(crate) fn drop_column(of: Owner, owner: &str, column: &str, many: bool) -> Vec<Sql> {
    if many {
        return vec![Sql::new(format!(
            "DROP TABLE IF EXISTS {}",
            Ident::new(&["many", owner, column])
        ))];
    }
    let table = Ident::new(&[of.name(), owner]);
    let mut indexes = vec![Ident::new(&[of.name(), owner, column])];
    if of == Owner::Kind {
        indexes.push(Ident::new(&["unique", owner, column]));
    }
    let mut all: Vec<Sql> = indexes.iter().map(drop_index).collect();
    all.push(Sql::new(format!(
        "ALTER TABLE {table} DROP COLUMN {}",
        Ident::new(&[column])
    )));
    all
}

/// Removes an index.
pub(crate) fn drop_index(index: &Ident) -> Sql {
    Sql::new(format!("DROP INDEX IF EXISTS {index}"))
}

/// What a table belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Kind,
    Lane,
    Latest,
}

impl Owner {
    pub(crate) fn name(self) -> Name {
        match self {
            Self::Kind => "kind",
            Self::Lane => "lane",
            Self::Latest => "latest",
        }
    }
}
