//! Stores what a group changes.

use std::collections::{BTreeMap, HashMap};

use fleet_core::store::{
    Change, Column, Key, Latest, Name, StoredRow, Touched,
    group::{Effects, PutDoc},
};
use sqlx::sqlite::SqliteConnection;

use super::{Changed, Failure, Sums, facts::encode_revs};
use crate::{
    pack::Pack,
    sql::literal,
    tables::{KindTable, LaneTable, Tables},
};

/// A few statements for each table that changes. They insert *or fail*: whatever fails takes the whole transaction back, and so the engine
/// need not be able to take back a single statement, for which it would copy pages.
///
/// `known` are the sums of documents that were there before.
pub(crate) async fn store(
    conn: &mut SqliteConnection,
    tables: &Tables,
    effects: &Effects,
    known: &HashMap<Key, Sums>,
) -> Result<(), Failure> {
    store_deletes(conn, tables, &effects.deletes).await?;
    store_documents(conn, tables, &effects.puts, known).await?;
    store_rows(conn, tables, &effects.rows).await?;
    store_latest(conn, tables, &effects.latest, &effects.drops).await?;
    store_feed(conn, &effects.feed).await?;
    store_batches(conn, effects).await?;
    for (lane, link) in &effects.heads {
        literal(
            "INSERT INTO heads (lane, number, hash) VALUES (?1, ?2, ?3) \
             ON CONFLICT (lane) DO UPDATE SET number = excluded.number, hash = excluded.hash",
        )
        .bind(*lane)
        .bind(i64::try_from(link.number).unwrap_or(i64::MAX))
        .bind(link.hash.to_vec())
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Removes documents and what they have in side tables.
pub(crate) async fn store_deletes(
    conn: &mut SqliteConnection,
    tables: &Tables,
    deletes: &[Key],
) -> Result<(), Failure> {
    let mut ids: BTreeMap<Name, Vec<&Key>> = BTreeMap::new();
    for key in deletes {
        ids.entry(key.kind).or_default().push(key);
    }
    for (kind, keys) in ids {
        let table = tables.kind(kind)?;
        let pack = || {
            let mut pack = Pack::new();
            for key in &keys {
                pack.row().id(&key.id);
            }
            pack
        };
        for many in &table.many {
            many.delete.pack(pack()).execute(&mut *conn).await?;
        }
        table.delete.pack(pack()).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Writes documents. Indexes of values that are unchanged, as the sums say, are left alone.
pub(crate) async fn store_documents(
    conn: &mut SqliteConnection,
    tables: &Tables,
    puts: &[PutDoc],
    known: &HashMap<Key, Sums>,
) -> Result<(), Failure> {
    let mut kinds: BTreeMap<Name, Vec<&PutDoc>> = BTreeMap::new();
    for put in puts {
        kinds.entry(put.key.kind).or_default().push(put);
    }
    for (kind, puts) in kinds {
        store_kind(conn, tables.kind(kind)?, &puts, known).await?;
    }
    Ok(())
}

async fn store_kind(
    conn: &mut SqliteConnection,
    table: &KindTable,
    puts: &[&PutDoc],
    known: &HashMap<Key, Sums>,
) -> Result<(), Failure> {
    let (mut inserts, mut free) = (Pack::new(), Pack::new());
    let mut rewritten: Vec<&PutDoc> = Vec::new();
    // What only needs its body written, and what has other single values as well. All of these are replaced by one statement, which
    // has the columns that have changed in any of them.
    let (mut touched, mut replaced) = (Vec::new(), Vec::new());
    let mut changed = Changed::default();
    for put in puts {
        let sums = Sums::of(table, &put.index);
        let before = known.get(&put.key);
        if before.is_none_or(|before| before.many != sums.many) {
            rewritten.push(put);
        }
        let Some(before) = before else {
            pack(&mut inserts, put, &sums, table.columns());
            continue;
        };
        let differs = sums.changed(before);
        if differs.is_none() {
            touched.push((*put, sums));
            continue;
        }
        if table.has_unique(differs) {
            free.row().id(&put.key.id);
        }
        changed = changed.and(differs);
        replaced.push((*put, sums));
    }
    if let Some(sql) = &table.free
        && !free.is_empty()
    {
        sql.pack(free).execute(&mut *conn).await?;
    }
    for (puts, changed) in [(touched, Changed::default()), (replaced, changed)] {
        if puts.is_empty() {
            continue;
        }
        let mut rows = Pack::new();
        for (put, sums) in puts {
            pack(&mut rows, put, &sums, table.changed(changed));
        }
        table.replace(changed).pack(rows).execute(&mut *conn).await?;
    }
    if !inserts.is_empty() {
        table.insert.pack(inserts).execute(&mut *conn).await?;
    }
    store_many(conn, table, &rewritten, known).await
}

/// A row of [`KindTable::insert`] or [`KindTable::replace`].
fn pack<'t>(rows: &mut Pack, put: &PutDoc, sums: &Sums, columns: impl Iterator<Item = (usize, &'t Column)>) {
    rows.row().id(&put.key.id).uint(put.rev).uint(put.seq);
    rows.bytes(&sums.singles).sum(&sums.many);
    for (position, _) in columns {
        match put.index.get(position).and_then(|values| values.first()) {
            Some(value) => rows.value(value),
            None => rows.null(),
        };
    }
    rows.bytes(&put.body);
}

/// Writes the difference between what the side tables hold and what they should.
async fn store_many(
    conn: &mut SqliteConnection,
    table: &KindTable,
    puts: &[&PutDoc],
    known: &HashMap<Key, Sums>,
) -> Result<(), Failure> {
    if puts.is_empty() {
        return Ok(());
    }
    for many in &table.many {
        let (mut values, mut kept, mut before) = (Pack::new(), Pack::new(), Pack::new());
        for put in puts {
            let was_there = known.contains_key(&put.key);
            if was_there {
                before.row().id(&put.key.id);
            }
            let Some(list) = put.index.get(many.position).filter(|list| !list.is_empty()) else {
                continue;
            };
            let place = values.place(&put.key.id);
            let kept_place = was_there.then(|| kept.place(&put.key.id));
            for value in list {
                values.row().value(value).int(place);
                if let Some(place) = kept_place {
                    kept.row().value(value).int(place);
                }
            }
        }
        if !before.is_empty() {
            let (json, blob) = kept.finish();
            let remove = many.keep.pack(before).bind(json).bind(blob);
            remove.execute(&mut *conn).await?;
        }
        if !values.is_empty() {
            many.insert.pack(values).execute(&mut *conn).await?;
        }
    }
    Ok(())
}

/// Writes new rows.
async fn store_rows(conn: &mut SqliteConnection, tables: &Tables, rows: &[(Name, StoredRow)]) -> Result<(), Failure> {
    for (table, pack) in pack_rows(tables, rows)? {
        table.insert.pack(pack).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Writes rows in the place of what is there.
pub(crate) async fn store_patched_rows(
    conn: &mut SqliteConnection,
    tables: &Tables,
    rows: &[(Name, StoredRow)],
) -> Result<(), Failure> {
    for (table, pack) in pack_rows(tables, rows)? {
        table.replace.pack(pack).execute(&mut *conn).await?;
    }
    Ok(())
}

fn pack_rows<'t>(tables: &'t Tables, rows: &[(Name, StoredRow)]) -> Result<Vec<(&'t LaneTable, Pack)>, Failure> {
    // Few lanes are involved in one group; a look at each beats a map.
    let mut packs: Vec<(&LaneTable, Pack)> = Vec::new();
    for (lane, stored) in rows {
        let position = match packs.iter().position(|(table, _)| table.lane.name == *lane) {
            Some(position) => position,
            None => {
                packs.push((tables.lane(lane)?, Pack::new()));
                packs.len() - 1
            }
        };
        let (table, pack) = &mut packs[position];
        let row = &stored.row;
        pack.row().id(&row.stream).int(row.at).int(i64::from(row.n));
        for value in &row.index {
            pack.value(value);
        }
        if table.lane.chained {
            match &stored.link {
                Some(link) => pack.uint(link.number).bytes(&link.hash),
                None => pack.null().null().null(),
            };
        }
        pack.bytes(&row.body);
    }
    Ok(packs)
}

/// Writes and removes latest values.
pub(crate) async fn store_latest(
    conn: &mut SqliteConnection,
    tables: &Tables,
    latest: &[Latest],
    drops: &[Key],
) -> Result<(), Failure> {
    let mut upserts: BTreeMap<Name, Pack> = BTreeMap::new();
    for Latest { key, body } in latest {
        let pack = upserts.entry(key.kind).or_insert_with(Pack::new);
        pack.row().id(&key.id).bytes(body);
    }
    for (set, pack) in upserts {
        tables.latest(set)?.upsert.pack(pack).execute(&mut *conn).await?;
    }
    let mut removals: BTreeMap<Name, Pack> = BTreeMap::new();
    for key in drops {
        removals.entry(key.kind).or_insert_with(Pack::new).row().id(&key.id);
    }
    for (set, pack) in removals {
        tables.latest(set)?.delete.pack(pack).execute(&mut *conn).await?;
    }
    Ok(())
}

async fn store_feed(conn: &mut SqliteConnection, feed: &[Change]) -> Result<(), Failure> {
    if feed.is_empty() {
        return Ok(());
    }
    let mut pack = Pack::new();
    let (mut seq, mut n) = (0, 0);
    for change in feed {
        if change.seq != seq {
            (seq, n) = (change.seq, 0);
        }
        pack.row().uint(change.seq).int(n);
        n += 1;
        match &change.touched {
            Touched::Document { key, rev, deleted } => {
                pack.int(i64::from(*deleted)).text(key.kind).id(&key.id).uint(*rev);
            }
            Touched::Stream { lane, stream } => {
                pack.int(crate::feed::STREAM).text(lane).id(stream).null();
            }
        }
    }
    let (json, blob) = pack.finish();
    literal(
        "INSERT OR FAIL INTO feed (seq, n, type, name, id, rev) SELECT j.value->>0, j.value->>1, j.value->>2, j.value->>3, \
         substr(?2, j.value->>4, 16), j.value->>5 FROM json_each(?1) j",
    )
    .bind(json)
    .bind(blob)
    .execute(conn)
    .await?;
    Ok(())
}

async fn store_batches(conn: &mut SqliteConnection, effects: &Effects) -> Result<(), Failure> {
    if effects.batches.is_empty() {
        return Ok(());
    }
    let mut pack = Pack::new();
    for (id, remembered) in &effects.batches {
        pack.row().id(id).uint(remembered.committed.seq);
        pack.sum(&remembered.fingerprint)
            .bytes(&encode_revs(&remembered.committed.revs));
    }
    let (json, blob) = pack.finish();
    literal(
        "INSERT OR FAIL INTO batches (id, seq, fingerprint, revs) SELECT substr(?2, j.value->>0, 16), j.value->>1, \
         substr(?2, j.value->>2, 16), substr(?2, j.value->>3, j.value->>4) FROM json_each(?1) j",
    )
    .bind(json)
    .bind(blob)
    .execute(&mut *conn)
    .await?;
    literal("UPDATE meta SET value = ?1 WHERE name = 'seq'")
        .bind(i64::try_from(effects.seq).unwrap_or(i64::MAX))
        .execute(conn)
        .await?;
    Ok(())
}
