//! Loads what deciding a group needs, under the lock that the group began with.

use std::collections::{BTreeMap, HashMap};

use fleet_core::store::{
    Committed, Key, Name, Rev,
    group::{Facts, Needs, Place, Remembered, UniqueValue},
};
use sqlx::{
    Row as _,
    postgres::{PgConnection, PgRow},
};
use uuid::Uuid;

use super::{Failure, Known};
use crate::{
    sql::{Array, Sql, read_array, read_body, read_n, read_uint, read_value},
    tables::{Fixed, Tables, by_lane},
};

/// The facts of core, and what storing the effects needs besides.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) facts: Facts,
    pub(super) known: Known,
}

/// The documents that are there: their revisions, and the sums of their many values.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) revs: HashMap<Key, Rev>,
    pub(super) sums: HashMap<Key, [u8; 16]>,
}

/// What begins a transaction, and asks for documents in the same message; and the kinds in the order in which they are asked for.
pub(super) fn begin_with(begin: &Sql, tables: &Tables, documents: &[Key]) -> Result<(Sql, Vec<Name>), Failure> {
    let mut by_kind: BTreeMap<Name, Vec<Uuid>> = BTreeMap::new();
    for key in documents {
        by_kind.entry(key.kind).or_default().push(key.id);
    }
    let mut message = begin.clone();
    for (number, (kind, ids)) in by_kind.iter().enumerate() {
        message = message.then(&tables.kind(kind)?.facts_of(number, ids));
    }
    Ok((message, by_kind.into_keys().collect()))
}

/// Reads what [`begin_with`] asked for.
pub(super) fn read_found(kinds: &[Name], rows: &[PgRow]) -> Result<Found, Failure> {
    let mut found = Found::default();
    for row in rows {
        let number = usize::try_from(row.try_get::<i64, _>(0)?).ok();
        if let Some(kind) = number.and_then(|number| kinds.get(number)) {
            let key = Key::new(kind, row.try_get(1)?);
            found.revs.insert(key, read_uint(row, 2)?);
            found.sums.insert(key, read_array(row, 3)?);
        }
    }
    Ok(found)
}

type Done = Result<(), Failure>;

/// All but the documents: one statement for each table that is involved.
pub(super) async fn load(
    conn: &mut PgConnection,
    fixed: &Fixed,
    tables: &Tables,
    needs: &Needs,
) -> Result<Loaded, Failure> {
    let mut loaded = Loaded::default();
    load_batches(conn, fixed, needs, &mut loaded).await?;
    loaded.facts.holders = load_holders(conn, tables, needs.holders.iter()).await?;
    let holders = loaded.facts.holders.iter();
    loaded.known.holders = holders.map(|(value, id)| (value.clone(), *id)).collect();
    load_rows(conn, tables, needs, &mut loaded).await?;
    load_latest(conn, tables, needs, &mut loaded).await?;
    Ok(loaded)
}

async fn load_batches(conn: &mut PgConnection, fixed: &Fixed, needs: &Needs, loaded: &mut Loaded) -> Done {
    if needs.batches.is_empty() {
        return Ok(());
    }
    for row in fixed.batches.query().bind(&needs.batches).fetch_all(conn).await? {
        let revs: Vec<u8> = row.try_get(3)?;
        let remembered = Remembered {
            fingerprint: read_array(&row, 2)?,
            committed: Committed {
                seq: read_uint(&row, 1)?,
                revs: decode_revs(&revs),
            },
        };
        loaded.facts.batches.insert(row.try_get(0)?, remembered);
    }
    Ok(())
}

/// The revisions of documents that are there; the sums of their many values go to `known`.
pub(crate) async fn load_documents(
    conn: &mut PgConnection,
    tables: &Tables,
    keys: &[Key],
    known: &mut Known,
) -> Result<HashMap<Key, Rev>, Failure> {
    let mut by_kind: BTreeMap<_, Vec<Uuid>> = BTreeMap::new();
    for key in keys {
        by_kind.entry(key.kind).or_default().push(key.id);
    }
    let mut found = HashMap::new();
    for (kind, ids) in by_kind {
        let facts = tables.kind(kind)?.facts.query().bind(ids);
        for row in facts.fetch_all(&mut *conn).await? {
            let key = Key::new(kind, row.try_get(0)?);
            found.insert(key, read_uint(&row, 1)?);
            known.sums.insert(key, read_array(&row, 2)?);
        }
    }
    Ok(found)
}

/// Who holds unique values.
pub(crate) async fn load_holders(
    conn: &mut PgConnection,
    tables: &Tables,
    wanted: impl Iterator<Item = &UniqueValue> + Send,
) -> Result<HashMap<UniqueValue, Uuid>, Failure> {
    let mut by_column: BTreeMap<_, Vec<&UniqueValue>> = BTreeMap::new();
    for wanted in wanted {
        by_column.entry((wanted.kind, wanted.column)).or_default().push(wanted);
    }
    let mut holders = HashMap::new();
    for ((kind, column), wanted) in by_column {
        let table = tables.kind(kind)?;
        let Some((_, r#type, sql)) = table.holders.iter().find(|(name, _, _)| *name == column) else {
            continue;
        };
        let mut values = Array::new(*r#type);
        for wanted in wanted {
            values.push(Some(&wanted.value));
        }
        for row in values.bind(sql.query()).fetch_all(&mut *conn).await? {
            let value = UniqueValue {
                kind,
                column,
                value: read_value(&row, 0, *r#type)?,
            };
            holders.insert(value, row.try_get(1)?);
        }
    }
    Ok(holders)
}

async fn load_rows(conn: &mut PgConnection, tables: &Tables, needs: &Needs, loaded: &mut Loaded) -> Done {
    for (lane, (streams, ats, ns)) in by_lane(&needs.rows) {
        // The span leaves the partitions of other days alone.
        let (least, greatest) = (ats.iter().min().copied(), ats.iter().max().copied());
        let places = tables.lane(lane)?.places.query().bind(streams).bind(ats).bind(ns);
        for row in places.bind(least).bind(greatest).fetch_all(&mut *conn).await? {
            let place = Place {
                lane,
                stream: row.try_get(0)?,
                at: row.try_get(1)?,
                n: read_n(&row, 2)?,
            };
            loaded.facts.rows.insert(place, read_body(&row, 3)?);
        }
    }
    Ok(())
}

async fn load_latest(conn: &mut PgConnection, tables: &Tables, needs: &Needs, loaded: &mut Loaded) -> Done {
    let mut by_set: BTreeMap<_, Vec<Uuid>> = BTreeMap::new();
    for key in &needs.latest {
        by_set.entry(key.kind).or_default().push(key.id);
    }
    for (set, ids) in by_set {
        let present = tables.latest(set)?.present.query().bind(ids);
        for row in present.fetch_all(&mut *conn).await? {
            loaded.facts.latest.insert(Key::new(set, row.try_get(0)?));
        }
    }
    Ok(())
}

/// Revisions as they are kept with a batch: eight bytes each, zero for none (a revision is at least one).
pub(super) fn encode_revs(revs: &[Option<Rev>]) -> Vec<u8> {
    revs.iter().flat_map(|rev| rev.unwrap_or(0).to_le_bytes()).collect()
}

fn decode_revs(bytes: &[u8]) -> Vec<Option<Rev>> {
    let (chunks, _) = bytes.as_chunks::<8>();
    chunks
        .iter()
        .map(|chunk| Some(u64::from_le_bytes(*chunk)).filter(|rev| *rev > 0))
        .collect()
}
