//! Stores what a group changes: what is common in one statement, the rest in a few for each table.

use std::collections::{BTreeMap, HashMap, HashSet};

use fleet_core::store::{
    Change, Column, Key, Latest, Name, StoredRow, Value,
    group::{Effects, PutDoc, UniqueValue},
};
use futures::future::join;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{
    Bundle, Failure,
    copies::{Copies, by_lane},
    facts::encode_revs,
};
use crate::{
    sql::{Array, Sql, signed, text},
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
    store_deletes(&mut *conn, tables, &effects.deletes).await?;
    drop_latest(&mut *conn, tables, &effects.drops).await?;
    let mut bundle = Bundle::default();
    add_rows(&mut bundle, tables, &effects.rows, |table| &table.append)?;
    add_latest(&mut bundle, tables, &effects.latest)?;
    add_history(&mut bundle, fixed, effects)?;
    let encode = async {
        let mut copies = Copies::default();
        let new = effects.puts.iter().filter(|put| !known.sums.contains_key(&put.key));
        copies.documents(tables, new).map(|()| copies)
    };
    let replace = replace_documents(&mut *conn, tables, &effects.puts, known, Sides::Differing, bundle);
    // While the engine is busy with the one the other is made.
    let (replaced, copies) = join(replace, encode).await;
    replaced?;
    Ok(copies?.send(conn).await?)
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

/// What is written of the many values of documents that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sides {
    /// What differs, by their indexes.
    Differing,
    /// All, anew: a store that is being filled may be without one of the indexes.
    All,
}

/// Replaces the documents that are there, together with what is bundled already; frees the unique values that others take from them.
pub(crate) async fn replace_documents(
    conn: &mut PgConnection,
    tables: &Tables,
    puts: &[PutDoc],
    known: &Known,
    sides: Sides,
    mut bundle: Bundle,
) -> Done {
    let mut by_kind: BTreeMap<Name, Vec<&PutDoc>> = BTreeMap::new();
    for put in puts {
        by_kind.entry(put.key.kind).or_default().push(put);
    }
    let mut rewritten = Vec::new();
    for (kind, mut puts) in by_kind {
        let table = tables.kind(kind)?;
        free(conn, table, &puts, known).await?;
        puts.retain(|put| known.sums.contains_key(&put.key));
        if !puts.is_empty() {
            rewritten.push((table, add_kind(&mut bundle, table, &puts, known)?));
        }
    }
    bundle.send(conn).await?;
    for (table, puts) in rewritten {
        replace_many(conn, table, &puts, sides).await?;
    }
    Ok(())
}

/// Bundles the documents of a kind; returns those whose many values differ.
fn add_kind<'p>(
    bundle: &mut Bundle,
    table: &KindTable,
    puts: &[&'p PutDoc],
    known: &Known,
) -> Result<Vec<&'p PutDoc>, Failure> {
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
    bundle.part(&table.update).wants(table.kind.name, puts.len());
    bundle.bind(ids)?.bind(revs)?.bind(seqs)?.bind(sums)?.bind(bodies)?;
    for array in ones {
        bundle.bind_array(array)?;
    }
    Ok(rewritten)
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

/// Writes what the side tables should hold of documents that are there.
async fn replace_many(conn: &mut PgConnection, table: &KindTable, puts: &[&PutDoc], sides: Sides) -> Done {
    if puts.is_empty() {
        return Ok(());
    }
    for many in &table.many {
        let r#type = many.column.r#type;
        let before: Vec<Uuid> = puts.iter().map(|put| put.key.id).collect();
        let (mut kept, mut values) = (Array::new(r#type), Array::new(r#type));
        let mut owners = Vec::new();
        for put in puts {
            for value in put.index.get(many.position).into_iter().flatten() {
                kept.push(Some(value));
                values.push(Some(value));
                owners.push(put.key.id);
            }
        }
        match sides {
            Sides::Differing => {
                let keep = kept.bind(many.keep.query().bind(before)).bind(&owners);
                keep.execute(&mut *conn).await?;
            }
            Sides::All => {
                many.delete.query().bind(before).execute(&mut *conn).await?;
            }
        }
        if !values.is_empty() {
            let insert = values.bind(many.insert.query()).bind(owners);
            insert.execute(&mut *conn).await?;
        }
    }
    Ok(())
}

/// Bundles rows, each lane's with the statement that is chosen.
fn add_rows(
    bundle: &mut Bundle,
    tables: &Tables,
    rows: &[(Name, StoredRow)],
    sql: impl Fn(&LaneTable) -> &Sql,
) -> Done {
    for (table, rows) in by_lane(tables, rows)? {
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
                hashes.push(link.hash.as_slice());
            }
        }
        bundle.part(sql(table));
        bundle.bind(streams)?.bind(ats)?.bind(ns)?.bind(bodies)?;
        for array in arrays {
            bundle.bind_array(array)?;
        }
        if table.lane.chained {
            bundle.bind(numbers)?.bind(hashes)?;
        }
    }
    Ok(())
}

/// Writes rows in the place of what is there.
pub(crate) async fn replace_rows(conn: &mut PgConnection, tables: &Tables, rows: &[(Name, StoredRow)]) -> Done {
    let mut bundle = Bundle::default();
    add_rows(&mut bundle, tables, rows, |table| &table.replace)?;
    bundle.send(conn).await
}

/// Bundles the batches of a group, each with the feed that it makes.
fn add_history(bundle: &mut Bundle, fixed: &Fixed, effects: &Effects) -> Done {
    if effects.batches.is_empty() {
        return Ok(());
    }
    let (mut ids, mut seqs, mut fingerprints, mut revs, mut feeds) = (vec![], vec![], vec![], vec![], vec![]);
    let mut rest: &[Change] = &effects.feed;
    for (id, remembered) in &effects.batches {
        // A batch that changed nothing may answer with the place of the one before it, which has taken the entries by then.
        let committed = &remembered.committed;
        let own = rest.iter().take_while(|change| change.seq == committed.seq).count();
        let (own, others) = rest.split_at(own);
        rest = others;
        ids.push(*id);
        seqs.push(signed(committed.seq));
        fingerprints.push(remembered.fingerprint.as_slice());
        revs.push(encode_revs(&committed.revs));
        feeds.push(crate::feed::encode(own));
    }
    bundle.part(&fixed.remember);
    bundle
        .bind(ids)?
        .bind(seqs)?
        .bind(fingerprints)?
        .bind(revs)?
        .bind(feeds)?;
    Ok(())
}

/// Removes latest values, then writes others.
pub(crate) async fn store_latest(conn: &mut PgConnection, tables: &Tables, latest: &[Latest], drops: &[Key]) -> Done {
    drop_latest(conn, tables, drops).await?;
    let mut bundle = Bundle::default();
    add_latest(&mut bundle, tables, latest)?;
    bundle.send(conn).await
}

/// Removes latest values, each set's in the order of their ids.
async fn drop_latest(conn: &mut PgConnection, tables: &Tables, drops: &[Key]) -> Done {
    let mut removals: BTreeMap<Name, Vec<Uuid>> = BTreeMap::new();
    for key in drops {
        removals.entry(key.kind).or_default().push(key.id);
    }
    for (set, mut ids) in removals {
        ids.sort_unstable();
        tables.latest(set)?.delete.query().bind(ids).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Bundles latest values, each set's in the order of their ids.
fn add_latest(bundle: &mut Bundle, tables: &Tables, latest: &[Latest]) -> Done {
    let mut upserts: BTreeMap<Name, Vec<(Uuid, &str)>> = BTreeMap::new();
    for Latest { key, body } in latest {
        upserts.entry(key.kind).or_default().push((key.id, text(body)?));
    }
    for (set, mut values) in upserts {
        values.sort_unstable_by_key(|(id, _)| *id);
        let (ids, bodies): (Vec<Uuid>, Vec<&str>) = values.into_iter().unzip();
        bundle.part(&tables.latest(set)?.upsert).bind(ids)?.bind(bodies)?;
    }
    Ok(())
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
