//! Queries: what may be asked of a backend, and the rules that decide whether it is served.
//!
//! A query is served when every column that it filters or sorts by is declared: each declared column has an index, and a
//! list walks the index of its order or the one of its narrowest filter. A column that is not declared is
//! [`Error::NoIndex`](super::Error::NoIndex), never a silent scan.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Column, ColumnType, Doc, Error, Key, KindSchema, LaneSchema, Name, Result, Schema, Value, group::Place, limits,
};

/// A direction through an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the smallest value, or the oldest time.
    #[default]
    Ascending,
    /// From the greatest value, or the newest time.
    Descending,
}

/// Which documents or rows are wanted. A predicate on a many-valued column holds when any of its values meets it; a
/// predicate never holds for null, except `Eq(column, Null)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Filter {
    /// All of them.
    All,
    /// The column has this value; with null, the column has none.
    Eq(Name, Value),
    /// The column has one of these values; null is not allowed among them.
    In(Name, Vec<Value>),
    /// The column has a value of at least the first and below the second; none means unbounded on that side.
    Range(Name, Option<Value>, Option<Value>),
    /// The text begins with this.
    Prefix(Name, String),
    /// All of these hold; true when empty.
    And(Vec<Filter>),
    /// One of these holds; false when empty.
    Or(Vec<Filter>),
    /// This does not hold.
    Not(Box<Filter>),
}

impl Filter {
    /// This and another.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, other) => other,
            (this, Self::All) => this,
            (Self::And(mut all), other) => {
                all.push(other);
                Self::And(all)
            }
            (this, other) => Self::And(vec![this, other]),
        }
    }
}

/// One term of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Term {
    /// A single-valued column.
    pub column: Name,
    /// Its direction.
    pub direction: Direction,
}

/// A list of documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// The kind.
    pub kind: Name,
    /// Which ones.
    pub filter: Filter,
    /// By which column; none: by id ascending. Documents of one value are ordered by id, in the same direction.
    pub order: Option<Term>,
    /// Where to go on.
    pub after: Option<Cursor>,
    /// At most this many.
    pub limit: usize,
}

/// A position in a list: the order column's value and the id of the last document seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// The value in the order column; null when the list is by id.
    pub value: Value,
    /// The id.
    pub id: Uuid,
}

/// A page of documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocPage {
    /// The documents, in order.
    pub docs: Vec<Doc>,
    /// Continues the list; none at its end, also when the last page is full.
    pub next: Option<Cursor>,
}

/// A reading of a lane. Order: time, stream, number; within one stream that is time and number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRows {
    /// The lane.
    pub lane: Name,
    /// Only this stream.
    pub stream: Option<Uuid>,
    /// Only these rows.
    pub filter: Filter,
    /// Only from this time, in microseconds.
    pub from: Option<i64>,
    /// Only before this time, in microseconds.
    pub to: Option<i64>,
    /// From the oldest or from the newest.
    pub direction: Direction,
    /// Where to go on.
    pub after: Option<RowCursor>,
    /// At most this many.
    pub limit: usize,
}

/// A position in a lane: the last row seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowCursor {
    /// Its time.
    pub at: i64,
    /// Its stream.
    pub stream: Uuid,
    /// Its number.
    pub n: u32,
}

/// Checks that a list is served; returns its kind and the order column, if it has one.
pub fn check_find<'s>(schema: &'s Schema, find: &Find) -> Result<(&'s KindSchema, Option<&'s Column>)> {
    let kind = schema.kind(find.kind)?;
    check_limit(find.limit, limits::PAGE)?;
    check_filter(kind.name, &kind.columns, &find.filter)?;
    let order = match &find.order {
        None => None,
        Some(term) => match kind.columns.iter().find(|column| column.name == term.column) {
            Some(column) if !column.many => Some(column),
            _ => return Err(no_index(kind.name, term.column)),
        },
    };
    if let Some(cursor) = &find.after {
        let fits = match order {
            None => cursor.value == Value::Null,
            Some(column) => cursor.value == Value::Null || column.r#type.holds(&cursor.value),
        };
        if !fits {
            return Err(Error::Invalid("the cursor belongs to another order".into()));
        }
    }
    Ok((kind, order))
}

/// Checks that a count by column is served; returns its kind and the column's place.
pub fn check_tally<'s>(schema: &'s Schema, kind: &str, filter: &Filter, by: &str) -> Result<(&'s KindSchema, usize)> {
    let kind = schema.kind(kind)?;
    check_filter(kind.name, &kind.columns, filter)?;
    let position = kind.position(by).ok_or_else(|| no_index(kind.name, by))?;
    Ok((kind, position))
}

/// Checks that a reading of a lane is served; returns the lane.
pub fn check_rows<'s>(schema: &'s Schema, read: &ReadRows) -> Result<&'s LaneSchema> {
    let lane = schema.lane(read.lane)?;
    check_limit(read.limit, limits::PAGE)?;
    check_filter(lane.name, &lane.columns, &read.filter)?;
    Ok(lane)
}

/// Checks that these documents may be asked for.
pub fn check_keys(schema: &Schema, keys: &[Key]) -> Result<()> {
    check_count(keys.len())?;
    keys.iter().try_for_each(|key| schema.kind(key.kind).map(drop))
}

/// Checks that these latest values may be asked for.
pub fn check_latest(schema: &Schema, keys: &[Key]) -> Result<()> {
    check_count(keys.len())?;
    keys.iter().try_for_each(|key| schema.latest(key.kind).map(drop))
}

/// Checks that a page of latest values may be asked for.
pub fn check_latest_page(schema: &Schema, set: &str, limit: usize) -> Result<()> {
    schema.latest(set)?;
    check_limit(limit, limits::PAGE)
}

/// Checks that a page of records may be asked for.
pub fn check_records(limit: usize) -> Result<()> {
    check_limit(limit, limits::PAGE)
}

/// Checks that the rows at these places may be asked for.
pub fn check_places(schema: &Schema, places: &[Place]) -> Result<()> {
    check_count(places.len())?;
    places.iter().try_for_each(|place| schema.lane(place.lane).map(drop))
}

/// Checks the name of a lease.
pub fn check_lease(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > limits::TEXT || name.contains('\0') {
        return Err(Error::Invalid(format!(
            "a lease's name is 1 to {} bytes without U+0000",
            limits::TEXT
        )));
    }
    Ok(())
}

fn check_count(keys: usize) -> Result<()> {
    if keys <= limits::KEYS {
        Ok(())
    } else {
        Err(Error::Invalid(format!(
            "{keys} keys; at most {} are allowed",
            limits::KEYS
        )))
    }
}

/// Checks that every part of a filter names a declared column and a value of its type.
pub fn check_filter(subject: &str, columns: &[Column], filter: &Filter) -> Result<()> {
    let mut predicates = 0;
    check_part(subject, columns, filter, &mut predicates, 0)
}

fn check_part(subject: &str, columns: &[Column], filter: &Filter, predicates: &mut usize, depth: usize) -> Result<()> {
    *predicates += 1;
    if *predicates > limits::PREDICATES || depth > 16 {
        return Err(Error::Invalid(format!(
            "a filter has at most {} parts, 16 deep",
            limits::PREDICATES
        )));
    }
    let column = |name: &str| {
        columns
            .iter()
            .find(|column| column.name == name)
            .ok_or_else(|| no_index(subject, name))
    };
    let typed = |column: &Column, value: &Value| {
        if column.r#type.holds(value) {
            Ok(())
        } else {
            Err(Error::Invalid(format!(
                "{subject}.{} is compared with a value of another type",
                column.name
            )))
        }
    };
    match filter {
        Filter::All => Ok(()),
        Filter::Eq(name, value) => {
            let column = column(name)?;
            if *value == Value::Null {
                Ok(())
            } else {
                typed(column, value)
            }
        }
        Filter::In(name, values) => {
            let column = column(name)?;
            if values.len() > limits::IN {
                return Err(Error::Invalid(format!(
                    "a list of {} values; at most {} are allowed",
                    values.len(),
                    limits::IN
                )));
            }
            values.iter().try_for_each(|value| typed(column, value))
        }
        Filter::Range(name, from, to) => {
            let column = column(name)?;
            from.iter().chain(to).try_for_each(|value| typed(column, value))
        }
        Filter::Prefix(name, _) => {
            let column = column(name)?;
            if column.r#type == ColumnType::Text {
                Ok(())
            } else {
                Err(Error::Invalid(format!("{subject}.{} is not a text", column.name)))
            }
        }
        Filter::And(parts) | Filter::Or(parts) => parts
            .iter()
            .try_for_each(|part| check_part(subject, columns, part, predicates, depth + 1)),
        Filter::Not(part) => check_part(subject, columns, part, predicates, depth + 1),
    }
}

fn no_index(subject: &str, column: &str) -> Error {
    Error::NoIndex {
        subject: subject.to_owned(),
        column: column.to_owned(),
    }
}

fn check_limit(limit: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&limit) {
        Ok(())
    } else {
        Err(Error::Invalid(format!("a page of {limit}; 1 to {most} are allowed")))
    }
}

/// Whether index values meet a filter: the meaning that every engine's own evaluation must have. `values` gives a column's
/// values by name (a single null where a single-valued column has none).
pub fn matches<'v>(filter: &Filter, values: &impl Fn(&str) -> &'v [Value]) -> bool {
    let any = |name: &str, test: &dyn Fn(&Value) -> bool| {
        values(name).iter().any(|value| *value != Value::Null && test(value))
    };
    match filter {
        Filter::All => true,
        Filter::Eq(name, Value::Null) => !any(name, &|_| true),
        Filter::Eq(name, wanted) => any(name, &|value| value == wanted),
        Filter::In(name, wanted) => any(name, &|value| wanted.contains(value)),
        Filter::Range(name, from, to) => any(name, &|value| {
            from.as_ref().is_none_or(|from| value >= from) && to.as_ref().is_none_or(|to| value < to)
        }),
        Filter::Prefix(name, prefix) => any(
            name,
            &|value| matches!(value, Value::Text(text) if text.starts_with(prefix.as_str())),
        ),
        Filter::And(parts) => parts.iter().all(|part| matches(part, values)),
        Filter::Or(parts) => parts.iter().any(|part| matches(part, values)),
        Filter::Not(part) => !matches(part, values),
    }
}

/// Whether a document's index values meet a filter of its kind.
pub fn doc_matches(kind: &KindSchema, filter: &Filter, index: &[Vec<Value>]) -> bool {
    matches(filter, &|name| {
        kind.position(name)
            .map_or(&[][..], |position| index[position].as_slice())
    })
}

/// Whether a row's index values meet a filter of its lane.
pub fn row_matches(lane: &LaneSchema, filter: &Filter, index: &[Value]) -> bool {
    matches(filter, &|name| {
        lane.position(name)
            .map_or(&[][..], |position| std::slice::from_ref(&index[position]))
    })
}
