//! The statements that fill a store: plain inserts, in the order of the records.

use std::collections::BTreeMap;

use fleet_core::store::{Key, Latest, Layout, Name, Result, StoredRow, Value, group::PutDoc};

use super::Sums;
use crate::{
    sql::Prepared,
    tables::{KindTable, LaneTable, Tables, bind_value},
};

/// The statements of a patch for a store that has none of its records, with all that they bind. Made outside of the writer, which
/// has only to run them. None for a patch that removes something.
pub(crate) fn inserts(tables: &Tables, layout: &Layout) -> Result<Option<Vec<Prepared>>> {
    if !(layout.deletes.is_empty() && layout.drops.is_empty() && layout.removed_rows.is_empty()) {
        return Ok(None);
    }
    let mut all = Vec::new();
    let mut kinds: BTreeMap<Name, Vec<&PutDoc>> = BTreeMap::new();
    for put in &layout.puts {
        kinds.entry(put.key.kind).or_default().push(put);
    }
    for (kind, puts) in kinds {
        documents(tables.kind(kind)?, &puts, &mut all);
    }
    let mut sets: BTreeMap<Name, Vec<&Latest>> = BTreeMap::new();
    for latest in &layout.latest {
        sets.entry(latest.key.kind).or_default().push(latest);
    }
    for (set, latest) in sets {
        let bind = |query: Prepared, Latest { key, body }: &&Latest| bytes(query, key).bind(body.to_vec());
        tables.latest(set)?.inserts.of(&latest, bind, &mut all);
    }
    let mut lanes: BTreeMap<Name, Vec<&StoredRow>> = BTreeMap::new();
    for (lane, stored) in &layout.rows {
        lanes.entry(lane).or_default().push(stored);
    }
    for (lane, stored) in lanes {
        rows(tables.lane(lane)?, &stored, &mut all);
    }
    Ok(Some(all))
}

fn bytes(query: Prepared, key: &Key) -> Prepared {
    query.bind(key.id.as_bytes().to_vec())
}

fn documents(table: &KindTable, puts: &[&PutDoc], all: &mut Vec<Prepared>) {
    let bind = |query: Prepared, put: &&PutDoc| {
        let sums = Sums::of(table, &put.index);
        let mut query = bytes(query, &put.key).bind(int(put.rev)).bind(int(put.seq));
        query = query.bind(sums.singles).bind(sums.many.to_vec());
        for (position, _) in table.columns() {
            query = bind_value(query, put.index.get(position).and_then(|values| values.first()));
        }
        query.bind(put.body.to_vec())
    };
    table.inserts.of(puts, bind, all);
    for many in &table.many {
        let values: Vec<(&Key, &Value)> = puts
            .iter()
            .flat_map(|put| {
                let list = put.index.get(many.position).map(Vec::as_slice).unwrap_or_default();
                list.iter().map(|value| (&put.key, value))
            })
            .collect();
        let bind = |query: Prepared, (key, value): &(&Key, &Value)| bind_value(bytes(query, key), Some(value));
        many.inserts.of(&values, bind, all);
    }
}

fn rows(table: &LaneTable, rows: &[&StoredRow], all: &mut Vec<Prepared>) {
    let bind = |query: Prepared, StoredRow { row, link }: &&StoredRow| {
        let mut query = query.bind(row.stream.as_bytes().to_vec()).bind(row.at);
        query = query.bind(i64::from(row.n));
        for value in &row.index {
            query = bind_value(query, Some(value));
        }
        if table.lane.chained {
            query = query.bind(link.map(|link| int(link.number)));
            query = query.bind(link.map(|link| link.hash.to_vec()));
        }
        query.bind(row.body.to_vec())
    };
    table.inserts.of(rows, bind, all);
}

/// Places and revisions stay far below 2^63; a larger one would be a bug, and is pinned rather than wrapped.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
