//! Moving what the store holds: its standing, and patches of records as they are.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use fleet_core::store::{
    Error, Key, Layout, Move, Name, Patch, Relocate, Result, Seq, Standing, Step, Tracked, Tracking,
    group::{Needs, Place, UniqueValue},
};
use sqlx::Row as _;

use crate::{
    SqliteStore,
    pack::Pack,
    sql::{Ident, Sql, Statement, literal},
    tables::Tables,
    writer::{Failure, Writer, load, load_holders, store_deletes, store_documents, store_latest, store_patched_rows},
};

#[async_trait]
impl Relocate for SqliteStore {
    async fn standing(&self) -> Result<Standing> {
        self.check_open()?;
        Ok(self.shared().standing())
    }

    async fn freeze(&self, to: Move) -> Result<Seq> {
        self.tables()?;
        // The writer does one thing after another: what it answered before is in, and what comes later is refused.
        self.alone(|writer| {
            Box::pin(async move {
                step(writer, Step::Freeze(to)).await?;
                Ok(writer.seq())
            })
        })
        .await
    }

    async fn fill(&self, from: Move) -> Result<()> {
        let tables = self.tables()?;
        self.alone(move |writer| Box::pin(async move { fill(writer, &tables, from).await }))
            .await
    }

    async fn patch(&self, patch: Patch) -> Result<()> {
        let tables = self.tables()?;
        self.shared().standing().phase.check_filling()?;
        let layout = patch.lay_out(&tables.schema)?;
        self.alone(move |writer| Box::pin(async move { patch_in(writer, &tables, layout).await }))
            .await
    }

    async fn serve(&self) -> Result<()> {
        self.tables()?;
        self.alone(|writer| Box::pin(step(writer, Step::Serve))).await
    }

    async fn clear(&self) -> Result<()> {
        let tables = self.tables()?;
        self.alone(move |writer| Box::pin(async move { clear(writer, &tables).await }))
            .await
    }

    async fn track(&self, on: bool) -> Result<()> {
        self.tables()?;
        // In its turn on the writer: what is written from then on is noted.
        self.alone(move |writer| {
            Box::pin(async move {
                *writer.shared().tracking() = on.then(Tracking::default);
                Ok(())
            })
        })
        .await
    }

    async fn tracked(&self, after: u64) -> Result<Tracked> {
        self.tables()?;
        match self.shared().tracking().as_mut() {
            Some(tracking) => tracking.after(after),
            None => Err(Tracking::is_off()),
        }
    }
}

/// Reads the standing as it is stored.
pub(crate) async fn load_standing(writer: &mut Writer) -> Result<Standing, Failure> {
    let row = literal("SELECT body FROM standing").fetch_one(writer.conn()).await?;
    let body: String = row.try_get(0)?;
    serde_json::from_str(&body).map_err(|error| Error::Corrupt(format!("the store's standing: {error}")).into())
}

/// Takes a step, if the table of phases allows it.
async fn step(writer: &mut Writer, step: Step) -> Result<()> {
    let next = writer.shared().standing().after(&step)?;
    writer.begin().await?;
    let result = store_standing(writer, &next).await;
    writer.end(result).await?;
    writer.shared().set_standing(next);
    Ok(())
}

async fn store_standing(writer: &mut Writer, standing: &Standing) -> Result<(), Failure> {
    let body = serde_json::to_string(standing).map_err(|error| Error::Invalid(error.to_string()))?;
    literal("UPDATE standing SET body = ?1")
        .bind(body)
        .execute(writer.conn())
        .await?;
    Ok(())
}

async fn fill(writer: &mut Writer, tables: &Tables, from: Move) -> Result<()> {
    writer.begin().await?;
    let result: Result<Standing, Failure> = async {
        let empty = writer.seq() == 0 && !holds_anything(writer, tables).await?;
        let next = writer.shared().standing().after(&Step::Fill { from, empty })?;
        forget_history(writer).await?;
        store_standing(writer, &next).await?;
        Ok(next)
    }
    .await;
    let next = writer.end(result).await?;
    writer.shared().set_standing(next);
    Ok(())
}

async fn holds_anything(writer: &mut Writer, tables: &Tables) -> Result<bool, Failure> {
    let mut statement = Statement::default();
    statement.sql("SELECT 0");
    for table in all(tables) {
        statement.sql(" + EXISTS (SELECT 1 FROM ").name(table).sql(")");
    }
    let held = statement.query().persistent(false).fetch_one(writer.conn()).await?;
    Ok(held.try_get::<i64, _>(0)? > 0)
}

/// The tables that records are in; side tables are not among them.
fn all(tables: &Tables) -> impl Iterator<Item = &Ident> {
    let kinds = tables.kinds.values().map(|table| &table.table);
    let lanes = tables.lanes.values().map(|table| &table.table);
    let latests = tables.latests.values().map(|table| &table.table);
    kinds.chain(lanes).chain(latests)
}

/// The feed begins anew, and what was answered before says nothing about what is filled in.
async fn forget_history(writer: &mut Writer) -> Result<(), Failure> {
    for statement in [
        "DELETE FROM feed",
        "DELETE FROM batches",
        "DELETE FROM leases",
        "UPDATE meta SET value = (SELECT value FROM meta WHERE name = 'seq') WHERE name = 'floor'",
    ] {
        literal(statement).execute(writer.conn()).await?;
    }
    Ok(())
}

async fn clear(writer: &mut Writer, tables: &Arc<Tables>) -> Result<()> {
    let next = writer.shared().standing().after(&Step::Clear)?;
    writer.begin().await?;
    let result: Result<(), Failure> = async {
        let sides = tables
            .kinds
            .values()
            .flat_map(|kind| &kind.many)
            .map(|many| &many.table);
        for table in all(tables).chain(sides) {
            Sql::delete_all(table).once(writer.conn()).await?;
        }
        for statement in [
            "DELETE FROM heads",
            "UPDATE meta SET value = 0 WHERE name IN ('seq', 'floor')",
        ] {
            literal(statement).execute(writer.conn()).await?;
        }
        forget_history(writer).await?;
        store_standing(writer, &next).await
    }
    .await;
    writer.end(result).await?;
    writer.load().await
}

async fn patch_in(writer: &mut Writer, tables: &Tables, layout: Layout) -> Result<()> {
    writer.shared().standing().phase.check_filling()?;
    writer.begin().await?;
    let result = store_layout(writer, tables, &layout).await;
    writer.end(result).await?;
    writer.load().await
}

async fn store_layout(writer: &mut Writer, tables: &Tables, layout: &Layout) -> Result<(), Failure> {
    let conn = writer.conn();
    store_deletes(conn, tables, &layout.deletes).await?;
    let mut removed: BTreeMap<Name, Pack> = BTreeMap::new();
    for Place { lane, stream, at, n } in &layout.removed_rows {
        let pack = removed.entry(lane).or_insert_with(Pack::new);
        pack.row().id(stream).int(*at).int(i64::from(*n));
    }
    for (lane, pack) in removed {
        tables.lane(lane)?.remove.pack(pack).execute(&mut *conn).await?;
    }
    // Removals first: a value may be removed and stored in one patch.
    store_latest(conn, tables, &[], &layout.drops).await?;
    store_latest(conn, tables, &layout.latest, &[]).await?;
    store_patched_rows(conn, tables, &layout.rows).await?;

    let keys: Vec<Key> = layout.puts.iter().map(|put| put.key).collect();
    check_unique(writer, tables, layout, &keys).await?;
    let needs = Needs {
        documents: keys,
        ..Needs::default()
    };
    let known = load(writer.conn(), tables, &needs).await?.sums;
    store_documents(writer.conn(), tables, &layout.puts, &known).await?;

    for (lane, link) in &layout.heads {
        literal(
            "INSERT INTO heads (lane, number, hash) VALUES (?1, ?2, ?3) ON CONFLICT (lane) DO UPDATE \
             SET number = excluded.number, hash = excluded.hash WHERE excluded.number >= heads.number",
        )
        .bind(*lane)
        .bind(i64::try_from(link.number).unwrap_or(i64::MAX))
        .bind(link.hash.to_vec())
        .execute(writer.conn())
        .await?;
    }
    let seq = i64::try_from(layout.seq).map_err(|_| Error::Corrupt("a place in commit order out of range".into()))?;
    literal("UPDATE meta SET value = max(value, ?1) WHERE name IN ('seq', 'floor')")
        .bind(seq)
        .execute(writer.conn())
        .await?;
    Ok(())
}

/// Unique values are held once; documents that the patch replaces give theirs up.
async fn check_unique(writer: &mut Writer, tables: &Tables, layout: &Layout, keys: &[Key]) -> Result<(), Failure> {
    let wanted = UniqueValue::wanted(&tables.schema, layout.puts.iter().map(|put| (put.key, &put.index)))?;
    if wanted.is_empty() {
        return Ok(());
    }
    let mut holders = load_holders(writer.conn(), tables, wanted.iter().map(|(value, _)| value)).await?;
    let replaced: HashSet<&Key> = keys.iter().collect();
    holders.retain(|value, id| !replaced.contains(&Key::new(value.kind, *id)));
    for (value, id) in wanted {
        let (kind, column) = (value.kind, value.column);
        if let Some(holder) = holders.insert(value, id)
            && holder != id
        {
            let holder = Key::new(kind, holder);
            return Err(Error::Taken { column, holder }.into());
        }
    }
    Ok(())
}
