//! The tables of a schema and the statements on them, made once when the store is prepared.
//!
//! ```text
//!   state, gate            where the store stands, and the lock that everybody passes (fixed.rs)
//!   history, heads, leases, catalogue, fills
//!   "kind.device"          id, rev, seq, a column per single-valued column, _many, body
//!     "kind.device.name"   (name, id): lists, both ways, and filters; "unique.device.name" beside it where it is unique
//!   "many.device.tag"      (value, id) in that order, and back, for a many-valued column
//!   "lane.sample"          (stream, at, n), columns, body; "lane.sample.at" (at, stream, n); "lane.sample.level" (level, at, …)
//!     "part.sample.2026-11-21", "part.sample.rest"    its partitions; a chained lane has none, but _number and _hash
//!   "latest.state"         id, body
//! ```
//!
//! `_many` is the sum of a document's many values: where it is unchanged, their table is left alone. Foreign names stand in
//! quotes and hold no dot of their own, so that names of tables never clash.

mod fixed;
mod kind;
mod lane;

use std::collections::HashMap;

use fleet_core::store::{Column, ColumnType, Error, LatestSchema, Name, Result, Schema};

pub(crate) use self::{
    fixed::{Engine, FORMAT, Fixed, Limits},
    kind::KindTable,
    lane::{LaneTable, by_lane},
};

use crate::sql::{Ident, Sql, Table};

/// A schema and its statements.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) schema: Schema,
    pub(crate) kinds: HashMap<Name, KindTable>,
    pub(crate) lanes: HashMap<Name, LaneTable>,
    pub(crate) latests: HashMap<Name, LatestTable>,
    /// What identifies the schema: a writer of another one is refused.
    pub(crate) declared: String,
}

impl Tables {
    pub(crate) fn new(namespace: &Ident, schema: &Schema) -> Self {
        Self {
            kinds: schema
                .kinds()
                .map(|kind| (kind.name, KindTable::new(namespace, kind)))
                .collect(),
            lanes: schema
                .lanes()
                .map(|lane| (lane.name, LaneTable::new(namespace, lane)))
                .collect(),
            latests: schema
                .latests()
                .map(|latest| (latest.name, LatestTable::new(namespace, latest)))
                .collect(),
            schema: schema.clone(),
            declared: declared(schema),
        }
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

/// A digest over all that is declared, as far as tables depend on it.
fn declared(schema: &Schema) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut line = |text: String| {
        hasher.update(text.as_bytes()).update(b"\n");
    };
    for kind in schema.kinds() {
        line(format!("kind {} {:?}", kind.name, kind.indexes));
        for column in &kind.columns {
            line(format!("{} {}", column.name, column.spec()));
        }
    }
    for lane in schema.lanes() {
        line(format!("lane {} {}", lane.name, lane.chained));
        for column in &lane.columns {
            line(format!("{} {}", column.name, column.spec()));
        }
    }
    for latest in schema.latests() {
        line(format!("latest {}", latest.name));
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// The engine's type of a column, with the order that core gives to texts.
fn column_type(r#type: ColumnType) -> &'static str {
    match r#type {
        ColumnType::Int => "bigint",
        ColumnType::Text => "text COLLATE \"C\"",
        ColumnType::Id => "uuid",
    }
}

fn add_column(table: &Table, column: &Column) -> Sql {
    let (name, r#type) = (Ident::new(&[column.name]), column_type(column.r#type));
    Sql::new(format!("ALTER TABLE {table} ADD COLUMN {name} {type}"))
}

/// Forgets what a single-valued column held, and every index with it.
pub(crate) fn drop_column(table: &Table, column: &str) -> Sql {
    Sql::new(format!(
        "ALTER TABLE {table} DROP COLUMN IF EXISTS {} CASCADE",
        Ident::new(&[column])
    ))
}

/// A set of latest values and its statements.
#[derive(Debug)]
pub(crate) struct LatestTable {
    pub(crate) table: Table,
    /// `id` of those that are there (ids).
    pub(crate) present: Sql,
    /// `id, body` (ids).
    pub(crate) get: Sql,
    /// `id, body` after an id (or null), at most so many.
    pub(crate) page: Sql,
    /// Inserts or replaces (ids, bodies).
    pub(crate) upsert: Sql,
    /// Copies new ones (id, body).
    pub(crate) insert: Sql,
    /// Removes (ids).
    pub(crate) delete: Sql,
}

impl LatestTable {
    fn new(namespace: &Ident, latest: &LatestSchema) -> Self {
        let table = Table::new(namespace, &["latest", latest.name]);
        Self {
            present: Sql::new(format!("SELECT t.id FROM {table} t WHERE t.id = ANY($1)")),
            get: Sql::new(format!("SELECT t.id, t.body FROM {table} t WHERE t.id = ANY($1)")),
            page: Sql::new(format!(
                "SELECT t.id, t.body FROM {table} t WHERE $1::uuid IS NULL OR t.id > $1 ORDER BY t.id LIMIT $2"
            )),
            upsert: Sql::new(format!(
                "INSERT INTO {table} (id, body) SELECT j.id, j.body::json FROM unnest($1::uuid[], $2::text[]) \
                 AS j(id, body) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
            )),
            insert: Sql::new(format!("COPY {table} (id, body) FROM STDIN (FORMAT binary)")),
            delete: Sql::new(format!("DELETE FROM {table} WHERE id = ANY($1)")),
            table,
        }
    }

    pub(crate) fn create(&self) -> Sql {
        // Half of each page is room: a beat replaces its value there, without touching an index, again and again.
        Sql::new(format!(
            "CREATE TABLE {} (id uuid NOT NULL PRIMARY KEY, body json NOT NULL) \
             WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 200)",
            self.table
        ))
    }
}
