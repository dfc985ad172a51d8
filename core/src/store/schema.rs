//! What a store holds: kinds, lanes and latest values, declared once at start.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{Name, Value};

/// Bounds that hold in every backend.
pub mod limits {
    /// Columns of a kind or a lane.
    pub const COLUMNS: usize = 16;
    /// Bytes of a text in an index.
    pub const TEXT: usize = 1024;
    /// Values of a many-valued column in one document. A device's package set has some thousands of members.
    pub const VALUES: usize = 65_536;
    /// Bytes of a body.
    pub const BODY: usize = 4 * 1024 * 1024;
    /// Writes and rows of one batch, and items of one ingest: room for a run and its first event on each device of a large request.
    pub const BATCH: usize = 32_768;
    /// Documents or rows of one page.
    pub const PAGE: usize = 10_000;
    /// Keys of one `get`.
    pub const KEYS: usize = 10_000;
    /// Predicates of one filter.
    pub const PREDICATES: usize = 256;
    /// Values of one `In`.
    pub const IN: usize = 10_000;
    /// Bytes of a name.
    pub const NAME: usize = 40;
}

/// The type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// Integers and times.
    Int,
    /// Texts.
    Text,
    /// Ids.
    Id,
}

impl ColumnType {
    /// Whether a value may stand in such a column. Null fits every single-valued column.
    pub fn holds(self, value: &Value) -> bool {
        matches!(
            (self, value),
            (Self::Int, Value::Int(_)) | (Self::Text, Value::Text(_)) | (Self::Id, Value::Id(_))
        )
    }
}

/// A column that can be filtered by and, where it is single-valued, sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Lower-case snake case; unique within its kind.
    pub name: Name,
    /// The type of its values.
    pub r#type: ColumnType,
    /// Whether a document may have any number of values; such a column can be filtered by, not sorted by.
    pub many: bool,
    /// Whether two documents may not share a value. Nulls never clash.
    pub unique: bool,
}

impl Column {
    /// A single-valued column.
    pub const fn one(name: Name, r#type: ColumnType) -> Self {
        Self {
            name,
            r#type,
            many: false,
            unique: false,
        }
    }

    /// A many-valued column.
    pub const fn many(name: Name, r#type: ColumnType) -> Self {
        Self {
            name,
            r#type,
            many: true,
            unique: false,
        }
    }

    /// A single-valued column whose values are unique.
    pub const fn unique(name: Name, r#type: ColumnType) -> Self {
        Self {
            name,
            r#type,
            many: false,
            unique: true,
        }
    }
}

/// One list of values per declared column: exactly one value where the column is single-valued; sorted and without
/// repeats where it is many-valued.
pub type IndexedValues = Vec<Vec<Value>>;

/// Computes the index values of a body. Pure: a backend calls it to fill a new column, to import and to check.
pub type Indexer = Arc<dyn Fn(&[u8]) -> Result<IndexedValues, String> + Send + Sync>;

/// A kind of document.
#[derive(Clone)]
pub struct KindSchema {
    /// Lower-case snake case, such as `device`.
    pub name: Name,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Composite indexes for hot queries: names of single-valued columns, in order. They change no answer, only the speed.
    pub indexes: Vec<Vec<Name>>,
    /// Computes the index values of a body.
    pub indexer: Indexer,
}

impl KindSchema {
    /// The place of a column among the index values.
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|declared| declared.name == column)
    }

    /// The index values of a stored body, checked; [`super::Error::Corrupt`] when there are none.
    pub fn index(&self, body: &[u8]) -> super::Result<IndexedValues> {
        checked_index(self.name, &self.columns, &self.indexer, body)
    }
}

impl fmt::Debug for KindSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindSchema")
            .field("name", &self.name)
            .field("columns", &self.columns)
            .field("indexes", &self.indexes)
            .finish_non_exhaustive()
    }
}

/// An append-only lane of rows. All its columns are single-valued and none is unique.
#[derive(Clone)]
pub struct LaneSchema {
    /// Lower-case snake case, such as `audit`.
    pub name: Name,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Whether each row is linked to the one before it (see [`Link`](super::Link)). Rows of such a lane come only by
    /// commit, never by ingest, and are not trimmed.
    pub chained: bool,
    /// Computes the index values of a row's body.
    pub indexer: Indexer,
}

impl LaneSchema {
    /// The place of a column among the index values.
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|declared| declared.name == column)
    }

    /// The index values of a stored row's body, checked; [`super::Error::Corrupt`] when there are none.
    pub fn index(&self, body: &[u8]) -> super::Result<Vec<Value>> {
        let values = checked_index(self.name, &self.columns, &self.indexer, body)?;
        Ok(values.into_iter().flatten().collect())
    }
}

impl fmt::Debug for LaneSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneSchema")
            .field("name", &self.name)
            .field("columns", &self.columns)
            .field("chained", &self.chained)
            .finish_non_exhaustive()
    }
}

/// A set of latest values: one body per id, the newest to arrive wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestSchema {
    /// Lower-case snake case, such as `device_state`.
    pub name: Name,
}

/// Everything that a store holds.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub(super) kinds: BTreeMap<Name, Arc<KindSchema>>,
    pub(super) lanes: BTreeMap<Name, Arc<LaneSchema>>,
    pub(super) latest: BTreeMap<Name, LatestSchema>,
}

/// Why a declaration is not a schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {problem}")]
pub struct SchemaError {
    subject: String,
    problem: String,
}

/// Columns that every backend has already.
const RESERVED: [&str; 10] = [
    "id", "rev", "seq", "body", "stream", "at", "n", "link", "value", "rowid",
];

impl Schema {
    /// Checks and adds a kind.
    pub fn with_kind(mut self, kind: KindSchema) -> Result<Self, SchemaError> {
        check_columns(kind.name, &kind.columns)?;
        for index in &kind.indexes {
            for column in index {
                if !kind
                    .columns
                    .iter()
                    .any(|declared| declared.name == *column && !declared.many)
                {
                    return Err(problem(
                        kind.name,
                        format!("an index names {column}, which is not a single-valued column"),
                    ));
                }
            }
        }
        if self.kinds.insert(kind.name, Arc::new(kind.clone())).is_some() {
            return Err(problem(kind.name, "declared twice"));
        }
        Ok(self)
    }

    /// Checks and adds a lane.
    pub fn with_lane(mut self, lane: LaneSchema) -> Result<Self, SchemaError> {
        check_columns(lane.name, &lane.columns)?;
        if lane.columns.iter().any(|column| column.many || column.unique) {
            return Err(problem(lane.name, "a lane's columns are single-valued and not unique"));
        }
        if self.lanes.insert(lane.name, Arc::new(lane.clone())).is_some() {
            return Err(problem(lane.name, "declared twice"));
        }
        Ok(self)
    }

    /// Checks and adds a set of latest values.
    pub fn with_latest(mut self, latest: LatestSchema) -> Result<Self, SchemaError> {
        check_name(latest.name)?;
        if self.latest.insert(latest.name, latest.clone()).is_some() {
            return Err(problem(latest.name, "declared twice"));
        }
        Ok(self)
    }

    /// A declared kind, or an error that names it.
    pub fn kind(&self, name: &str) -> super::Result<&Arc<KindSchema>> {
        self.kinds
            .get(name)
            .ok_or_else(|| super::Error::Invalid(format!("kind {name} is not declared")))
    }

    /// A declared lane, or an error that names it.
    pub fn lane(&self, name: &str) -> super::Result<&Arc<LaneSchema>> {
        self.lanes
            .get(name)
            .ok_or_else(|| super::Error::Invalid(format!("lane {name} is not declared")))
    }

    /// A declared set of latest values, or an error that names it.
    pub fn latest(&self, name: &str) -> super::Result<&LatestSchema> {
        self.latest
            .get(name)
            .ok_or_else(|| super::Error::Invalid(format!("latest values {name} are not declared")))
    }

    /// All kinds, by name.
    pub fn kinds(&self) -> impl Iterator<Item = &Arc<KindSchema>> {
        self.kinds.values()
    }

    /// All lanes, by name.
    pub fn lanes(&self) -> impl Iterator<Item = &Arc<LaneSchema>> {
        self.lanes.values()
    }

    /// All sets of latest values, by name.
    pub fn latests(&self) -> impl Iterator<Item = &LatestSchema> {
        self.latest.values()
    }

    /// Gives the documents and rows of a batch their index values.
    pub fn index_batch(&self, batch: &mut super::Batch) -> super::Result<()> {
        for write in &mut batch.writes {
            if let super::Write::Put { key, body, index, .. } = write {
                *index = self.kind(key.kind)?.index(body)?;
            }
        }
        self.index_rows(&mut batch.rows)
    }

    /// Gives rows their index values.
    pub fn index_rows(&self, rows: &mut [(Name, super::Row)]) -> super::Result<()> {
        for (lane, row) in rows {
            row.index = self.lane(lane)?.index(&row.body)?;
        }
        Ok(())
    }

    /// Checks that a batch uses only what is declared, with values of the declared types, within the limits. Every
    /// backend calls this before anything else.
    pub fn check_batch(&self, batch: &super::Batch) -> super::Result<()> {
        use super::Write;
        within("batch", batch.writes.len() + batch.rows.len(), limits::BATCH)?;
        let alone = batch.writes.len() == 1;
        let mut seen = std::collections::HashSet::new();
        for write in &batch.writes {
            match write {
                Write::Put { key, body, index, .. } => {
                    let kind = self.kind(key.kind)?;
                    check_body(body)?;
                    check_values(kind.name, &kind.columns, index)?;
                }
                Write::Delete { key, .. } | Write::Check { key, .. } => drop(self.kind(key.kind)?),
                Write::DropLatest { key } => drop(self.latest(key.kind)?),
            }
            if !alone && !seen.insert((write.key(), matches!(write, Write::DropLatest { .. }))) {
                return Err(super::Error::Invalid(format!(
                    "{} appears twice in one batch",
                    write.key()
                )));
            }
        }
        self.check_rows(&batch.rows)
    }

    /// Checks an ingest as [`Schema::check_batch`] checks a batch.
    pub fn check_ingest(&self, ingest: &super::Ingest) -> super::Result<()> {
        within("ingest", ingest.latest.len() + ingest.rows.len(), limits::BATCH)?;
        for value in &ingest.latest {
            self.latest(value.key.kind)?;
            check_body(&value.body)?;
        }
        for (lane, _) in &ingest.rows {
            if self.lane(lane)?.chained {
                return Err(super::Error::Invalid(format!(
                    "lane {lane} is chained: its rows come by commit"
                )));
            }
        }
        self.check_rows(&ingest.rows)
    }

    /// The lane of a trim; [`super::Error::Invalid`] for one that is not declared, and for a chained one, which never loses rows.
    pub fn check_trim(&self, lane: &str) -> super::Result<Name> {
        let lane = self.lane(lane)?;
        if lane.chained {
            let problem = format!("lane {} is chained: its rows are not trimmed", lane.name);
            return Err(super::Error::Invalid(problem));
        }
        Ok(lane.name)
    }

    fn check_rows(&self, rows: &[(Name, super::Row)]) -> super::Result<()> {
        for (lane, row) in rows {
            let lane = self.lane(lane)?;
            check_body(&row.body)?;
            if row.index.len() != lane.columns.len() {
                return Err(super::Error::Invalid(format!(
                    "lane {} has {} columns, not {}",
                    lane.name,
                    lane.columns.len(),
                    row.index.len()
                )));
            }
            for (column, value) in lane.columns.iter().zip(&row.index) {
                check_value(lane.name, column, value)?;
            }
        }
        Ok(())
    }
}

fn problem(subject: &str, problem: impl Into<String>) -> SchemaError {
    SchemaError {
        subject: subject.to_owned(),
        problem: problem.into(),
    }
}

fn check_name(name: &str) -> Result<(), SchemaError> {
    // Names become names of tables and columns: nothing but these characters may ever reach an engine.
    let fits = !name.is_empty()
        && name.len() <= limits::NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
    if fits {
        Ok(())
    } else {
        Err(problem(
            name,
            format!(
                "a name is 1 to {} of a-z, 0-9 and _, and begins with a letter",
                limits::NAME
            ),
        ))
    }
}

fn check_columns(subject: &str, columns: &[Column]) -> Result<(), SchemaError> {
    check_name(subject)?;
    if columns.len() > limits::COLUMNS {
        return Err(problem(
            subject,
            format!("{} columns; at most {} are allowed", columns.len(), limits::COLUMNS),
        ));
    }
    for (n, column) in columns.iter().enumerate() {
        check_name(column.name)?;
        if RESERVED.contains(&column.name) {
            return Err(problem(subject, format!("column name {} is reserved", column.name)));
        }
        if columns[..n].iter().any(|other| other.name == column.name) {
            return Err(problem(subject, format!("column {} is declared twice", column.name)));
        }
    }
    Ok(())
}

fn within(what: &str, count: usize, limit: usize) -> super::Result<()> {
    if count <= limit {
        Ok(())
    } else {
        Err(super::Error::Invalid(format!(
            "{what} of {count}; at most {limit} are allowed"
        )))
    }
}

fn check_body(body: &[u8]) -> super::Result<()> {
    within("body", body.len(), limits::BODY)
}

fn check_value(subject: &str, column: &Column, value: &Value) -> super::Result<()> {
    let invalid = |why: &str| Err(super::Error::Invalid(format!("{subject}.{}: {why}", column.name)));
    match value {
        Value::Null if column.many => invalid("a many-valued column holds no null"),
        Value::Null => Ok(()),
        value if !column.r#type.holds(value) => invalid("the value has another type than the column"),
        Value::Text(text) if text.len() > limits::TEXT => invalid("the text is too long for an index"),
        Value::Text(text) if text.contains('\0') => invalid("the text holds U+0000"),
        _ => Ok(()),
    }
}

fn checked_index(subject: &str, columns: &[Column], indexer: &Indexer, body: &[u8]) -> super::Result<IndexedValues> {
    let corrupt = |problem: &dyn fmt::Display| super::Error::Corrupt(format!("{subject}: {problem}"));
    check_body(body).map_err(|error| corrupt(&error))?;
    let values = indexer(body).map_err(|error| corrupt(&error))?;
    check_values(subject, columns, &values).map_err(|error| corrupt(&error))?;
    Ok(values)
}

fn check_values(subject: &str, columns: &[Column], index: &[Vec<Value>]) -> super::Result<()> {
    let invalid = |why: String| Err(super::Error::Invalid(why));
    if index.len() != columns.len() {
        return invalid(format!("{subject} has {} columns, not {}", columns.len(), index.len()));
    }
    for (column, values) in columns.iter().zip(index) {
        if column.many {
            within("many-valued column", values.len(), limits::VALUES)?;
            if !values.is_sorted_by(|a, b| a < b) {
                return invalid(format!("{subject}.{}: values are not sorted and distinct", column.name));
            }
        } else if values.len() != 1 {
            return invalid(format!(
                "{subject}.{}: {} values in a single-valued column",
                column.name,
                values.len()
            ));
        }
        for value in values {
            check_value(subject, column, value)?;
        }
    }
    Ok(())
}
