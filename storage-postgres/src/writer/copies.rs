//! What is new, as rows to be copied: made without the database, so that it may happen while the engine is busy or on another
//! thread.

use std::collections::BTreeMap;

use fleet_core::store::{Latest, Name, Result, StoredRow, group::PutDoc};
use sqlx::postgres::PgConnection;

use super::effects::sum_of;
use crate::{
    copy::Rows,
    sql::{Sql, signed},
    tables::{KindTable, LaneTable, Tables},
};

/// Rows by the statement that copies them, in the order in which they are sent.
#[derive(Debug, Default)]
pub(crate) struct Copies(Vec<(Sql, Rows)>);

impl Copies {
    /// Documents that are not there, with what they have in side tables.
    pub(crate) fn documents<'p>(&mut self, tables: &Tables, puts: impl Iterator<Item = &'p PutDoc>) -> Result<()> {
        let mut kinds: BTreeMap<Name, Vec<&PutDoc>> = BTreeMap::new();
        for put in puts {
            kinds.entry(put.key.kind).or_default().push(put);
        }
        for (kind, puts) in kinds {
            self.kind(tables.kind(kind)?, &puts);
        }
        Ok(())
    }

    fn kind(&mut self, table: &KindTable, puts: &[&PutDoc]) {
        let bodies = puts.iter().map(|put| put.body.len()).sum();
        let mut rows = Rows::new(5 + table.ones.len(), puts.len(), bodies);
        let values = |position| {
            puts.iter()
                .filter_map(move |put| put.index.get(position))
                .map(Vec::len)
                .sum()
        };
        let sides = table.many.iter().map(|many| Rows::new(2, values(many.position), 0));
        let mut sides: Vec<Rows> = sides.collect();
        for put in puts {
            let row = rows.row().id(put.key.id).int(signed(put.rev)).int(signed(put.seq));
            row.bytes(&sum_of(&table.kind.columns, &put.index)).bytes(&put.body);
            for (position, column) in &table.ones {
                row.value(
                    column.r#type,
                    put.index.get(*position).and_then(|values| values.first()),
                );
            }
            for (many, side) in table.many.iter().zip(&mut sides) {
                for value in put.index.get(many.position).into_iter().flatten() {
                    side.row().value(many.column.r#type, Some(value)).id(put.key.id);
                }
            }
        }
        self.0.push((table.insert.clone(), rows));
        let sides = table.many.iter().zip(sides);
        self.0.extend(sides.map(|(many, side)| (many.copy.clone(), side)));
    }

    /// Rows whose places are free.
    pub(crate) fn rows(&mut self, tables: &Tables, rows: &[(Name, StoredRow)]) -> Result<()> {
        for (table, rows) in by_lane(tables, rows)? {
            let columns = &table.lane.columns;
            let bodies = rows.iter().map(|stored| stored.row.body.len()).sum();
            let link = if table.lane.chained { 2 } else { 0 };
            let mut copied = Rows::new(4 + columns.len() + link, rows.len(), bodies);
            for StoredRow { row, link } in rows {
                let tuple = copied.row().id(row.stream).int(row.at).int(i64::from(row.n));
                tuple.bytes(&row.body);
                for (n, column) in columns.iter().enumerate() {
                    tuple.value(column.r#type, row.index.get(n));
                }
                if let Some(link) = link {
                    tuple.int(signed(link.number)).bytes(&link.hash);
                }
            }
            self.0.push((table.insert.clone(), copied));
        }
        Ok(())
    }

    /// Latest values that are not there.
    pub(crate) fn latest(&mut self, tables: &Tables, latest: &[Latest]) -> Result<()> {
        let mut sets: BTreeMap<Name, Vec<&Latest>> = BTreeMap::new();
        for value in latest {
            sets.entry(value.key.kind).or_default().push(value);
        }
        for (set, values) in sets {
            let bodies = values.iter().map(|value| value.body.len()).sum();
            let mut rows = Rows::new(2, values.len(), bodies);
            for Latest { key, body } in values {
                rows.row().id(key.id).bytes(body);
            }
            self.0.push((tables.latest(set)?.insert.clone(), rows));
        }
        Ok(())
    }

    /// Copies everything.
    pub(crate) async fn send(self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        for (sql, rows) in self.0 {
            rows.copy(conn, &sql).await?;
        }
        Ok(())
    }
}

/// Rows by lane, each lane's in the order of their places: two servers that write the same ones do not wait for each other in
/// turn.
pub(super) fn by_lane<'t, 'r>(
    tables: &'t Tables,
    rows: &'r [(Name, StoredRow)],
) -> Result<Vec<(&'t LaneTable, Vec<&'r StoredRow>)>> {
    let mut lanes: BTreeMap<Name, Vec<&StoredRow>> = BTreeMap::new();
    for (lane, stored) in rows {
        lanes.entry(lane).or_default().push(stored);
    }
    let mut sorted = Vec::with_capacity(lanes.len());
    for (lane, mut rows) in lanes {
        rows.sort_unstable_by_key(|stored| (stored.row.at, stored.row.stream, stored.row.n));
        sorted.push((tables.lane(lane)?, rows));
    }
    Ok(sorted)
}
