//! Rows of the engine as what they stand for.

use fleet_core::store::{Doc, Key, LaneSchema, Latest, Link, Name, Row, StoredRow};
use sqlx::{Row as _, postgres::PgRow};

use crate::sql::{read_array, read_body, read_n, read_uint, read_value};

/// `id, rev, seq, body`.
pub(super) fn document(kind: Name, row: &PgRow) -> Result<Doc, sqlx::Error> {
    Ok(Doc {
        key: Key::new(kind, row.try_get(0)?),
        rev: read_uint(row, 1)?,
        seq: read_uint(row, 2)?,
        body: read_body(row, 3)?,
    })
}

/// `id, body`.
pub(super) fn latest_value(set: Name, row: &PgRow) -> Result<Latest, sqlx::Error> {
    Ok(Latest {
        key: Key::new(set, row.try_get(0)?),
        body: read_body(row, 1)?,
    })
}

/// A row with its index values, which follow what [`stored_row`] reads.
pub(super) fn indexed_row(row: &PgRow, lane: &LaneSchema) -> Result<StoredRow, sqlx::Error> {
    let mut stored = stored_row(row, lane.chained)?;
    let first = if lane.chained { 6 } else { 4 };
    let values = lane.columns.iter().enumerate();
    stored.row.index = values
        .map(|(n, column)| read_value(row, first + n, column.r#type))
        .collect::<Result<_, _>>()?;
    Ok(stored)
}

/// `stream, at, n, body`, and `number, hash` of a chained lane, without index values.
pub(crate) fn stored_row(row: &PgRow, chained: bool) -> Result<StoredRow, sqlx::Error> {
    let link = if chained { Some(chain_row(row, 4)?) } else { None };
    Ok(StoredRow {
        row: Row {
            stream: row.try_get(0)?,
            at: row.try_get(1)?,
            n: read_n(row, 2)?,
            body: read_body(row, 3)?,
            index: Vec::new(),
        },
        link,
    })
}

/// `number, hash`, from a column on.
pub(crate) fn chain_row(row: &PgRow, first: usize) -> Result<Link, sqlx::Error> {
    Ok(Link {
        number: read_uint(row, first)?,
        hash: read_array(row, first + 1)?,
    })
}
