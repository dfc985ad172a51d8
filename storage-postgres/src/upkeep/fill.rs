//! Fills new columns of old tables. A step is a transaction; several servers that fill at one time take turns.

use fleet_core::store::{Column, Name, Result, SchemaReport};
use sqlx::{Row as _, postgres::PgConnection};
use uuid::Uuid;

use super::{end, prepare::check_ours};
use crate::{
    PostgresStore,
    read::{FIRST, stored_row},
    sql::{Array, read_body},
    tables::{Fixed, KindTable, LaneTable, Tables},
    writer::{Failure, sum_of},
};

/// Documents or rows that are filled in one transaction.
const STEP: i64 = 500;

/// Fills everything.
pub(super) async fn fill(store: &PostgresStore, tables: &Tables, report: &mut SchemaReport) -> Result<()> {
    let fixed = &store.server().fixed;
    for kind in tables.schema.kinds() {
        let table = tables.kind(kind.name)?;
        loop {
            let (mut lent, _) = store.others().begin(&fixed.begin_alone).await?;
            let step = step_of_kind(lent.conn()?, fixed, tables, table, report).await;
            if end(lent, step).await? {
                break;
            }
        }
    }
    for lane in tables.schema.lanes() {
        let table = tables.lane(lane.name)?;
        loop {
            let (mut lent, _) = store.others().begin(&fixed.begin_alone).await?;
            let step = step_of_lane(lent.conn()?, fixed, tables, table, report).await;
            if end(lent, step).await? {
                break;
            }
        }
    }
    Ok(())
}

/// The declared columns that are not filled, and how far their filling came.
struct Fill {
    columns: Vec<Column>,
    /// None before the first step.
    place: Option<(Uuid, i64, i64)>,
}

async fn fill_of(
    conn: &mut PgConnection,
    fixed: &Fixed,
    owner: (&'static str, Name),
    declared: &[Column],
) -> Result<Fill, Failure> {
    let unfilled = fixed.unfilled.query().bind(owner.0).bind(owner.1);
    let rows = unfilled.fetch_all(&mut *conn).await?;
    let unfilled: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let columns = declared.iter().copied();
    let columns: Vec<Column> = columns
        .filter(|column| unfilled.iter().any(|name| name == column.name))
        .collect();
    let place = if columns.is_empty() {
        None
    } else {
        let place = fixed.filled_upto.query().bind(owner.0).bind(owner.1);
        match place.fetch_optional(conn).await? {
            Some(row) => Some((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)),
            None => None,
        }
    };
    Ok(Fill { columns, place })
}

async fn save(
    conn: &mut PgConnection,
    fixed: &Fixed,
    owner: (&'static str, Name),
    place: (Uuid, i64, i64),
) -> Result<(), Failure> {
    let save = fixed.set_filled_upto.query().bind(owner.0).bind(owner.1);
    save.bind(place.0).bind(place.1).bind(place.2).execute(conn).await?;
    Ok(())
}

async fn done(
    conn: &mut PgConnection,
    fixed: &Fixed,
    owner: (&'static str, Name),
    fill: &Fill,
    report: &mut SchemaReport,
) -> Result<(), Failure> {
    for sql in [&fixed.set_filled, &fixed.forget_fill] {
        sql.query().bind(owner.0).bind(owner.1).execute(&mut *conn).await?;
    }
    let named = |column: &Column| format!("{}.{}", owner.1, column.name);
    report.filled.extend(fill.columns.iter().map(named));
    Ok(())
}

/// A step; whether it was the last.
async fn step_of_kind(
    conn: &mut PgConnection,
    fixed: &Fixed,
    tables: &Tables,
    table: &KindTable,
    report: &mut SchemaReport,
) -> Result<bool, Failure> {
    check_ours(conn, fixed, tables).await?;
    let kind = &*table.kind;
    let owner = ("kind", kind.name);
    let fill = fill_of(conn, fixed, owner, &kind.columns).await?;
    if fill.columns.is_empty() {
        return Ok(true);
    }
    let after = fill.place.map(|(id, _, _)| id);
    let rows = table.walk.query().bind(after).bind(STEP).fetch_all(&mut *conn).await?;
    let Some(last) = rows.last() else {
        done(conn, fixed, owner, &fill, report).await?;
        return Ok(true);
    };
    let place: Uuid = last.try_get(0)?;
    let mut documents = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: Uuid = row.try_get(0)?;
        documents.push((id, kind.index(&read_body(row, 3)?)?));
    }
    let (mut ids, mut sums) = (Vec::new(), Vec::new());
    let mut ones: Vec<Array<'_>> = table.ones.iter().map(|(_, column)| Array::new(column.r#type)).collect();
    for (id, index) in &documents {
        ids.push(*id);
        sums.push(sum_of(&kind.columns, index).to_vec());
        for ((position, _), array) in table.ones.iter().zip(&mut ones) {
            array.push(index.get(*position).and_then(|values| values.first()));
        }
    }
    let set = table.fill.query().bind(ids).bind(sums);
    let set = ones.into_iter().fold(set, |query, array| array.bind(query));
    set.execute(&mut *conn).await?;
    for many in table.many.iter().filter(|many| fill.columns.contains(&many.column)) {
        let (mut values, mut owners) = (Array::new(many.column.r#type), Vec::new());
        for (id, index) in &documents {
            for value in index.get(many.position).into_iter().flatten() {
                values.push(Some(value));
                owners.push(*id);
            }
        }
        let insert = values.bind(many.insert.query()).bind(owners);
        insert.execute(&mut *conn).await?;
    }
    save(conn, fixed, owner, (place, 0, 0)).await?;
    Ok(false)
}

/// A step; whether it was the last.
async fn step_of_lane(
    conn: &mut PgConnection,
    fixed: &Fixed,
    tables: &Tables,
    table: &LaneTable,
    report: &mut SchemaReport,
) -> Result<bool, Failure> {
    check_ours(conn, fixed, tables).await?;
    let lane = &*table.lane;
    let owner = ("lane", lane.name);
    let fill = fill_of(conn, fixed, owner, &lane.columns).await?;
    if fill.columns.is_empty() {
        return Ok(true);
    }
    let (stream, at, n) = fill.place.unwrap_or(FIRST);
    let walk = table.walk.query().bind(stream).bind(at).bind(n).bind(STEP);
    let rows = walk.fetch_all(&mut *conn).await?;
    let (mut streams, mut ats, mut ns, mut indexes) = (vec![], vec![], vec![], vec![]);
    for row in &rows {
        let row = stored_row(row, lane.chained)?.row;
        indexes.push(lane.index(&row.body)?);
        streams.push(row.stream);
        ats.push(row.at);
        ns.push(i64::from(row.n));
    }
    let (Some(stream), Some(at), Some(n)) = (streams.last(), ats.last(), ns.last()) else {
        done(conn, fixed, owner, &fill, report).await?;
        return Ok(true);
    };
    let place = (*stream, *at, *n);
    let set = table.fill.query().bind(streams).bind(ats).bind(ns);
    let set = lane.columns.iter().enumerate().fold(set, |query, (position, column)| {
        let mut array = Array::new(column.r#type);
        indexes.iter().for_each(|index| array.push(index.get(position)));
        array.bind(query)
    });
    set.execute(&mut *conn).await?;
    save(conn, fixed, owner, place).await?;
    Ok(false)
}
