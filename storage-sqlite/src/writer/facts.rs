//! Loads what deciding a group needs.

use std::collections::{BTreeMap, HashMap};

use fleet_core::store::{
    Committed, Key, Rev,
    group::{Facts, Needs, Place, Remembered, UniqueValue},
};
use sqlx::{Row as _, sqlite::SqliteConnection};
use uuid::Uuid;

use super::Sums;
use crate::{
    pack::Pack,
    sql::{literal, read_array, read_bytes, read_id, read_uint, read_value},
    tables::Tables,
};

/// The facts of core, and the sums of the documents that are there.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) facts: Facts,
    pub(crate) sums: HashMap<Key, Sums>,
}

/// One statement for each table that is involved.
pub(crate) async fn load(
    conn: &mut SqliteConnection,
    tables: &Tables,
    needs: &Needs,
) -> Result<Loaded, crate::writer::Failure> {
    let mut loaded = Loaded::default();
    load_batches(conn, needs, &mut loaded).await?;
    load_documents(conn, tables, needs, &mut loaded).await?;
    loaded.facts.holders = load_holders(conn, tables, needs.holders.iter()).await?;
    load_rows(conn, tables, needs, &mut loaded).await?;
    load_latest(conn, tables, needs, &mut loaded).await?;
    Ok(loaded)
}

type Done = Result<(), crate::writer::Failure>;

async fn load_batches(conn: &mut SqliteConnection, needs: &Needs, loaded: &mut Loaded) -> Done {
    if needs.batches.is_empty() {
        return Ok(());
    }
    let mut pack = Pack::new();
    for id in &needs.batches {
        pack.row().id(id);
    }
    let (json, blob) = pack.finish();
    let found = literal(
        "SELECT b.id, b.seq, b.fingerprint, b.revs FROM json_each(?1) j \
         CROSS JOIN batches b ON b.id = substr(?2, j.value->>0, 16)",
    );
    for row in found.bind(json).bind(blob).fetch_all(conn).await? {
        let remembered = Remembered {
            fingerprint: read_array(&row, 2)?,
            committed: Committed {
                seq: read_uint(&row, 1)?,
                revs: decode_revs(row.try_get(3)?),
            },
        };
        loaded.facts.batches.insert(read_id(&row, 0)?, remembered);
    }
    Ok(())
}

async fn load_documents(conn: &mut SqliteConnection, tables: &Tables, needs: &Needs, loaded: &mut Loaded) -> Done {
    let mut packs: BTreeMap<_, Pack> = BTreeMap::new();
    for key in &needs.documents {
        packs.entry(key.kind).or_insert_with(Pack::new).row().id(&key.id);
    }
    for (kind, pack) in packs {
        for row in tables.kind(kind)?.facts.pack(pack).fetch_all(&mut *conn).await? {
            let key = Key::new(kind, read_id(&row, 0)?);
            loaded.facts.documents.insert(key, read_uint(&row, 1)?);
            let sums = Sums {
                singles: row.try_get(2)?,
                many: read_array(&row, 3)?,
            };
            loaded.sums.insert(key, sums);
        }
    }
    Ok(())
}

/// Who holds unique values.
pub(crate) async fn load_holders(
    conn: &mut SqliteConnection,
    tables: &Tables,
    wanted: impl Iterator<Item = &UniqueValue> + Send,
) -> Result<HashMap<UniqueValue, Uuid>, crate::writer::Failure> {
    let mut packs: BTreeMap<_, Pack> = BTreeMap::new();
    for wanted in wanted {
        let pack = packs.entry((wanted.kind, wanted.column)).or_insert_with(Pack::new);
        pack.row().value(&wanted.value);
    }
    let mut holders = HashMap::new();
    for ((kind, column), pack) in packs {
        let table = tables.kind(kind)?;
        let Some((_, r#type, sql)) = table.holders.iter().find(|(name, _, _)| *name == column) else {
            continue;
        };
        for row in sql.pack(pack).fetch_all(&mut *conn).await? {
            let value = UniqueValue {
                kind,
                column,
                value: read_value(&row, 0, *r#type)?,
            };
            holders.insert(value, read_id(&row, 1)?);
        }
    }
    Ok(holders)
}

async fn load_rows(conn: &mut SqliteConnection, tables: &Tables, needs: &Needs, loaded: &mut Loaded) -> Done {
    let mut packs: BTreeMap<_, Pack> = BTreeMap::new();
    for place in &needs.rows {
        let pack = packs.entry(place.lane).or_insert_with(Pack::new);
        pack.row().id(&place.stream).int(place.at).int(i64::from(place.n));
    }
    for (lane, pack) in packs {
        for row in tables.lane(lane)?.places.pack(pack).fetch_all(&mut *conn).await? {
            let place = Place {
                lane,
                stream: read_id(&row, 0)?,
                at: row.try_get(1)?,
                n: row.try_get(2)?,
            };
            loaded.facts.rows.insert(place, read_bytes(&row, 3)?);
        }
    }
    Ok(())
}

async fn load_latest(conn: &mut SqliteConnection, tables: &Tables, needs: &Needs, loaded: &mut Loaded) -> Done {
    let mut packs: BTreeMap<_, Pack> = BTreeMap::new();
    for key in &needs.latest {
        packs.entry(key.kind).or_insert_with(Pack::new).row().id(&key.id);
    }
    for (set, pack) in packs {
        for row in tables.latest(set)?.present.pack(pack).fetch_all(&mut *conn).await? {
            loaded.facts.latest.insert(Key::new(set, read_id(&row, 0)?));
        }
    }
    Ok(())
}

/// Revisions as they are kept with a batch: eight bytes each, zero for none (a revision is at least one).
pub(crate) fn encode_revs(revs: &[Option<Rev>]) -> Vec<u8> {
    revs.iter().flat_map(|rev| rev.unwrap_or(0).to_le_bytes()).collect()
}

fn decode_revs(bytes: &[u8]) -> Vec<Option<Rev>> {
    let (chunks, _) = bytes.as_chunks::<8>();
    chunks
        .iter()
        .map(|chunk| Some(u64::from_le_bytes(*chunk)).filter(|rev| *rev > 0))
        .collect()
}
