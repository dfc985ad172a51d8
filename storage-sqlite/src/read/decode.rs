//! Rows of the engine as what the contract knows.

use fleet_core::store::{Doc, Key, LaneSchema, Latest, Link, Name, Row, StoredRow};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::sql::{read_array, read_bytes, read_id, read_uint, read_value};

/// `id, rev, seq, body`.
pub(crate) fn document(kind: Name, row: &SqliteRow) -> Result<Doc, sqlx::Error> {
    Ok(Doc {
        key: Key::new(kind, read_id(row, 0)?),
        rev: read_uint(row, 1)?,
        seq: read_uint(row, 2)?,
        body: read_bytes(row, 3)?,
    })
}

/// `id, body`.
pub(crate) fn latest_value(set: Name, row: &SqliteRow) -> Result<Latest, sqlx::Error> {
    Ok(Latest {
        key: Key::new(set, read_id(row, 0)?),
        body: read_bytes(row, 1)?,
    })
}

/// A row with its index values, which follow what [`stored_row`] reads.
pub(crate) fn indexed_row(row: &SqliteRow, lane: &LaneSchema) -> Result<StoredRow, sqlx::Error> {
    let mut stored = stored_row(row, lane.chained)?;
    let first = if lane.chained { 6 } else { 4 };
    let values = lane.columns.iter().enumerate();
    stored.row.index = values
        .map(|(n, column)| read_value(row, first + n, column.r#type))
        .collect::<Result<_, _>>()?;
    Ok(stored)
}

/// `stream, at, n, body`, and `number, hash` of a chained lane, without index values.
pub(crate) fn stored_row(row: &SqliteRow, chained: bool) -> Result<StoredRow, sqlx::Error> {
    let link = if chained { Some(chain_row(row, 4)?) } else { None };
    Ok(StoredRow {
        row: Row {
            stream: read_id(row, 0)?,
            at: row.try_get(1)?,
            n: row.try_get(2)?,
            body: read_bytes(row, 3)?,
            index: Vec::new(),
        },
        link: link.flatten(),
    })
}

/// `number, hash`, from a column on; none where the row has no link.
pub(crate) fn chain_row(row: &SqliteRow, first: usize) -> Result<Option<Link>, sqlx::Error> {
    if row.try_get::<Option<i64>, _>(first)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Link {
        number: read_uint(row, first)?,
        hash: read_array(row, first + 1)?,
    }))
}
