//! Stores what a group changes, a few statements for each table.

use std::collections::{BTreeMap, HashMap, HashSet};

use fleet_core::store::{
    Change, Column, Key, Latest, Name, StoredRow, Touched, Value,
    group::{Effects, PutDoc, UniqueValue},
};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{Failure, facts::encode_revs};
use crate::{
    sql::{Array, Prepared, Sql, signed, text},
    tables::{Fixed, KindTable, LaneTable, Tables},
};

/// What was there before, as far as storing depends on it.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The sums of documents' many values.
    pub(crate) sums: HashMap<Key, [u8; 16]>,
    /// Who held the unique values that are wanted.
    pub(crate) holders: Vec<(UniqueValue, Uuid)>,
}

type Done = Result<(), Failure>;

pub(super) async fn store(
    conn: &mut PgConnection,
    fixed: &Fixed,
    tables: &Tables,
    effects: &Effects,
    known: &Known,
) -> Done {
    store_deletes(conn, tables, &effects.deletes).await?;
    store_documents(conn, tables, &effects.puts, known).await?;
    for (table, rows) in by_lane(tables, &effects.rows)? {
        bind_rows(&table.insert, table, &rows)?.execute(&mut *conn).await?;
    }
    store_latest(conn, tables, &effects.latest, &effects.drops).await?;
    store_history(conn, fixed, effects).await?;
    for (lane, link) in &effects.heads {
        let set = fixed.set_head.query().bind(*lane).bind(signed(link.number));
        set.bind(link.hash.as_slice()).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Removes documents and what they have in side tables.
pub(crate) async fn store_deletes(conn: &mut PgConnection, tables: &Tables, deletes: &[Key]) -> Done {
    let mut by_kind: BTreeMap<Name, Vec<Uuid>> = BTreeMap::new();
    for key in deletes {
        by_kind.entry(key.kind).or_default().push(key.id);
    }
    for (kind, ids) in by_kind {
        let table = tables.kind(kind)?;
        for many in &table.many {
            many.delete.query().bind(&ids).execute(&mut *conn).await?;
        }
        table.delete.query().bind(&ids).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Writes documents.
pub(crate) async fn store_documents(conn: &mut PgConnection, tables: &Tables, puts: &[PutDoc], known: &Known) -> Done {
    let mut by_kind: BTreeMap<Name, Vec<&PutDoc>> = BTreeMap::new();
    for put in puts {
        by_kind.entry(put.key.kind).or_default().push(put);
    }
    for (kind, puts) in by_kind {
        store_kind(conn, tables.kind(kind)?, &puts, known).await?;
    }
    Ok(())
}

async fn store_kind(conn: &mut PgConnection, table: &KindTable, puts: &[&PutDoc], known: &Known) -> Done {
    free(conn, table, puts, known).await?;
    let columns = &table.kind.columns;
    let mut rewritten: Vec<&PutDoc> = Vec::new();
    let (mut ids, mut revs, mut seqs, mut sums, mut bodies) = (vec![], vec![], vec![], vec![], vec![]);
    let mut ones: Vec<Array<'_>> = table.ones.iter().map(|(_, column)| Array::new(column.r#type)).collect();
    for put in puts {
        let sum = sum_of(columns, &put.index);
        if known.sums.get(&put.key) != Some(&sum) {
            rewritten.push(put);
        }
        ids.push(put.key.id);
        revs.push(signed(put.rev));
        seqs.push(signed(put.seq));
        sums.push(sum.to_vec());
        bodies.push(text(&put.body)?);
        for ((position, _), array) in table.ones.iter().zip(&mut ones) {
            array.push(put.index.get(*position).and_then(|values| values.first()));
        }
    }
    let upsert = table
        .upsert
        .query()
        .bind(ids)
        .bind(revs)
        .bind(seqs)
        .bind(sums)
        .bind(bodies);
    let upsert = ones.into_iter().fold(upsert, |query, array| array.bind(query));
    upsert.execute(&mut *conn).await?;
    store_many(conn, table, &rewritten, known).await
}

/// The engine looks at unique values row by row: those that change hands within the group are given up first.
async fn free(conn: &mut PgConnection, table: &KindTable, puts: &[&PutDoc], known: &Known) -> Done {
    let Some(sql) = &table.free else { return Ok(()) };
    let written: HashSet<Uuid> = puts.iter().map(|put| put.key.id).collect();
    let held: HashMap<&UniqueValue, Uuid> = known
        .holders
        .iter()
        .filter(|(value, id)| value.kind == table.kind.name && written.contains(id))
        .map(|(value, id)| (value, *id))
        .collect();
    let mut ids: Vec<Uuid> = Vec::new();
    for put in puts {
        for (column, values) in table.kind.columns.iter().zip(&put.index) {
            for value in values.iter().filter(|value| column.unique && **value != Value::Null) {
                let wanted = UniqueValue {
                    kind: table.kind.name,
                    column: column.name,
                    value: value.clone(),
                };
                ids.extend(held.get(&wanted).filter(|holder| **holder != put.key.id));
            }
        }
    }
    if !ids.is_empty() {
        sql.query().bind(ids).execute(conn).await?;
    }
    Ok(())
}

/// Writes the difference between what the side tables hold and what they should.
async fn store_many(conn: &mut PgConnection, table: &KindTable, puts: &[&PutDoc], known: &Known) -> Done {
    if puts.is_empty() {
        return Ok(());
    }
    for many in &table.many {
        let r#type = many.column.r#type;
        let (mut values, mut owners) = (Array::new(r#type), Vec::new());
        let (mut kept, mut keepers, mut before) = (Array::new(r#type), Vec::new(), Vec::new());
        for put in puts {
            let was_there = known.sums.contains_key(&put.key);
            if was_there {
                before.push(put.key.id);
            }
            for value in put.index.get(many.position).into_iter().flatten() {
                values.push(Some(value));
                owners.push(put.key.id);
                if was_there {
                    kept.push(Some(value));
                    keepers.push(put.key.id);
                }
            }
        }
        if !before.is_empty() {
            let keep = kept.bind(many.keep.query().bind(before)).bind(keepers);
            keep.execute(&mut *conn).await?;
        }
        if !values.is_empty() {
            let insert = values.bind(many.insert.query()).bind(owners);
            insert.execute(&mut *conn).await?;
        }
    }
    Ok(())
}

/// Rows by lane, each lane's in the order of their places: two servers that write the same ones do not wait for each other in
/// turn.
fn by_lane<'t, 'r>(
    tables: &'t Tables,
    rows: &'r [(Name, StoredRow)],
) -> Result<Vec<(&'t LaneTable, Vec<&'r StoredRow>)>, Failure> {
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

fn bind_rows(sql: &Sql, table: &LaneTable, rows: &[&StoredRow]) -> Result<Prepared, Failure> {
    let columns = &table.lane.columns;
    let (mut streams, mut ats, mut ns, mut bodies) = (vec![], vec![], vec![], vec![]);
    let (mut numbers, mut hashes) = (vec![], vec![]);
    let mut arrays: Vec<Array<'_>> = columns.iter().map(|column| Array::new(column.r#type)).collect();
    for stored in rows {
        let row = &stored.row;
        streams.push(row.stream);
        ats.push(row.at);
        ns.push(i64::from(row.n));
        bodies.push(text(&row.body)?);
        for (n, array) in arrays.iter_mut().enumerate() {
            array.push(row.index.get(n));
        }
        if let Some(link) = &stored.link {
            numbers.push(signed(link.number));
            hashes.push(link.hash.to_vec());
        }
    }
    let query = sql.query().bind(streams).bind(ats).bind(ns).bind(bodies);
    let query = arrays.into_iter().fold(query, |query, array| array.bind(query));
    Ok(if table.lane.chained {
        query.bind(numbers).bind(hashes)
    } else {
        query
    })
}

/// Writes rows in the place of what is there.
pub(crate) async fn replace_rows(conn: &mut PgConnection, tables: &Tables, rows: &[(Name, StoredRow)]) -> Done {
    for (table, rows) in by_lane(tables, rows)? {
        bind_rows(&table.replace, table, &rows)?.execute(&mut *conn).await?;
    }
    Ok(())
}

/// Removes latest values, then writes others, each set's in the order of their ids.
pub(crate) async fn store_latest(conn: &mut PgConnection, tables: &Tables, latest: &[Latest], drops: &[Key]) -> Done {
    let mut removals: BTreeMap<Name, Vec<Uuid>> = BTreeMap::new();
    for key in drops {
        removals.entry(key.kind).or_default().push(key.id);
    }
    for (set, mut ids) in removals {
        ids.sort_unstable();
        tables.latest(set)?.delete.query().bind(ids).execute(&mut *conn).await?;
    }
    let mut upserts: BTreeMap<Name, Vec<(Uuid, &str)>> = BTreeMap::new();
    for Latest { key, body } in latest {
        upserts.entry(key.kind).or_default().push((key.id, text(body)?));
    }
    for (set, mut values) in upserts {
        values.sort_unstable_by_key(|(id, _)| *id);
        let (ids, bodies): (Vec<Uuid>, Vec<&str>) = values.into_iter().unzip();
        let upsert = tables.latest(set)?.upsert.query().bind(ids).bind(bodies);
        upsert.execute(&mut *conn).await?;
    }
    Ok(())
}

/// The batches, and the feed that they make.
async fn store_history(conn: &mut PgConnection, fixed: &Fixed, effects: &Effects) -> Done {
    if effects.batches.is_empty() {
        return Ok(());
    }
    let (mut ids, mut seqs, mut fingerprints, mut revs) = (vec![], vec![], vec![], vec![]);
    for (id, remembered) in &effects.batches {
        ids.push(*id);
        seqs.push(signed(remembered.committed.seq));
        fingerprints.push(remembered.fingerprint.to_vec());
        revs.push(encode_revs(&remembered.committed.revs));
    }
    let remember = fixed
        .remember
        .query()
        .bind(ids)
        .bind(seqs)
        .bind(fingerprints)
        .bind(revs);
    bind_feed(remember, &effects.feed).execute(conn).await?;
    Ok(())
}

fn bind_feed(query: Prepared, feed: &[Change]) -> Prepared {
    let (mut seqs, mut ns, mut types, mut names) = (vec![], vec![], vec![], vec![]);
    let (mut ids, mut revs): (Vec<Uuid>, Vec<Option<i64>>) = (vec![], vec![]);
    let (mut seq, mut n) = (0, 0_i64);
    for change in feed {
        if change.seq != seq {
            (seq, n) = (change.seq, 0);
        }
        seqs.push(signed(change.seq));
        ns.push(n);
        n += 1;
        let (r#type, name, id, rev) = match &change.touched {
            Touched::Document { key, rev, deleted } => (i64::from(*deleted), key.kind, key.id, Some(signed(*rev))),
            Touched::Stream { lane, stream } => (crate::feed::STREAM, *lane, *stream, None),
        };
        types.push(r#type);
        names.push(name);
        ids.push(id);
        revs.push(rev);
    }
    query.bind(seqs).bind(ns).bind(types).bind(names).bind(ids).bind(revs)
}

/// The sum of a document's many values: where it is unchanged, their tables need not be written.
pub(crate) fn sum_of(columns: &[Column], index: &[Vec<Value>]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for (_, values) in columns.iter().zip(index).filter(|(column, _)| column.many) {
        hasher.update(&(values.len() as u64).to_le_bytes());
        for value in values {
            match value {
                Value::Null => hasher.update(b"-"),
                Value::Int(value) => hasher.update(b"i").update(&value.to_le_bytes()),
                Value::Text(text) => {
                    let length = (text.len() as u64).to_le_bytes();
                    hasher.update(b"t").update(&length).update(text.as_bytes())
                }
                Value::Id(id) => hasher.update(b"u").update(id.as_bytes()),
            };
        }
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    half
}
