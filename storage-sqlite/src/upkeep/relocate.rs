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
use tokio::task::spawn_blocking;

use crate::{
    SqliteStore,
    error::{from_engine, is_constraint},
    options::Synchronous,
    pack::Pack,
    sql::{Ident, Prepared, Sql, Statement, literal},
    tables::{Tables, drop_index},
    writer::{
        Failure, Writer, inserts, load, load_holders, store_deletes, store_documents, store_latest, store_patched_rows,
    },
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
        let (plain, for_layout) = (self.shared().is_put_off(), Arc::clone(&tables));
        // Meanwhile the writer stores another one.
        let prepared = spawn_blocking(move || {
            let layout = patch.lay_out(&for_layout.schema)?;
            let inserts = match plain {
                true => inserts(&for_layout, &layout)?,
                false => None,
            };
            Ok::<_, Error>((layout, inserts))
        });
        let (layout, inserts) = match prepared.await {
            Ok(prepared) => prepared?,
            Err(error) => return Err(Error::Unavailable(Box::new(error))),
        };
        self.alone(move |writer| Box::pin(async move { patch_in(writer, &tables, layout, inserts).await }))
            .await
    }

    async fn settle(&self) -> Result<()> {
        let tables = self.tables()?;
        self.alone(move |writer| Box::pin(async move { settle(writer, &tables).await }))
            .await
    }

    async fn serve(&self) -> Result<()> {
        let tables = self.tables()?;
        self.alone(move |writer| {
            Box::pin(async move {
                settle(writer, &tables).await?;
                step(writer, Step::Serve).await
            })
        })
        .await
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
    let result: Result<(), Failure> = async {
        let empty = writer.seq() == 0 && !holds_anything(writer, tables).await?;
        let next = writer.shared().standing().after(&Step::Fill { from, empty })?;
        forget_history(writer).await?;
        store_standing(writer, &next).await?;
        if empty {
            put_off(writer, tables).await?;
        }
        Ok(())
    }
    .await;
    writer.end(result).await?;
    writer.load().await?;
    if writer.shared().is_put_off() {
        synchronise(writer, Synchronous::Normal).await?;
        pragma(writer, "PRAGMA wal_autocheckpoint = 0").await?;
        // What comes in order needs little of it, and sorting what is put off takes as much again.
        pragma(writer, "PRAGMA cache_size = -8192").await?;
        writer.begin_checkpoints();
    }
    Ok(())
}

/// What is filled into an empty store comes in order, and its indexes are made at once in the end.
async fn put_off(writer: &mut Writer, tables: &Tables) -> Result<(), Failure> {
    for (index, _) in tables.put_off() {
        drop_index(&index).once(writer.conn()).await?;
    }
    literal("INSERT INTO meta (name, value) VALUES ('put_off', 1) ON CONFLICT (name) DO UPDATE SET value = 1")
        .execute(writer.conn())
        .await?;
    Ok(())
}

/// As a connection that writes has them when it is opened.
const AUTOCHECKPOINT: &str = "PRAGMA wal_autocheckpoint = 4096";
const CACHE: &str = "PRAGMA cache_size = -32768";

/// Makes the indexes that were put off, each in a transaction of its own: what is interrupted is gone on with.
///
/// While it is filled the store is synchronised at checkpoints only: the file is intact at any moment, and a loss of power may take
/// the newest patches, which are copied again when the move goes on. From here on each transaction is synchronised once more, and
/// a synchronisation covers all that is in the log: the last one of this function makes durable what was filled in.
async fn settle(writer: &mut Writer, tables: &Tables) -> Result<()> {
    if !writer.shared().is_put_off() {
        return Ok(());
    }
    // Sorting may take more than memory should.
    pragma(writer, "PRAGMA temp_store = FILE").await?;
    let made = make_indexes(writer, tables.put_off()).await;
    pragma(writer, "PRAGMA temp_store = MEMORY").await?;
    made?;
    writer.end_checkpoints().await?;
    pragma(writer, AUTOCHECKPOINT).await?;
    pragma(writer, CACHE).await?;
    synchronise(writer, writer.synchronous()).await?;
    writer.begin().await?;
    let done = literal("UPDATE meta SET value = 0 WHERE name = 'put_off'");
    let done = done.execute(writer.conn()).await.map(drop).map_err(Failure::from);
    writer.end(done).await?;
    writer.load().await
}

async fn make_indexes(writer: &mut Writer, indexes: Vec<(Ident, Sql)>) -> Result<()> {
    for (_, create) in indexes {
        writer.begin().await?;
        let made = create.once(writer.conn()).await.map_err(Failure::from);
        writer.end(made).await?;
        committed(writer).await?;
    }
    Ok(())
}

/// After each transaction of a store that is being filled.
async fn committed(writer: &mut Writer) -> Result<()> {
    match writer.checkpoints() {
        Some(checkpoints) => checkpoints.committed().await,
        None => Ok(()),
    }
}

async fn synchronise(writer: &mut Writer, how: Synchronous) -> Result<()> {
    pragma(
        writer,
        match how {
            Synchronous::Full => "PRAGMA synchronous = FULL",
            Synchronous::Normal => "PRAGMA synchronous = NORMAL",
        },
    )
    .await
}

async fn pragma(writer: &mut Writer, pragma: &'static str) -> Result<()> {
    let done = literal(pragma).execute(writer.conn()).await;
    done.map(drop).map_err(from_engine)
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
    writer.load().await?;
    // On empty tables that is quick.
    settle(writer, tables).await
}

async fn patch_in(writer: &mut Writer, tables: &Tables, layout: Layout, inserts: Option<Vec<Prepared>>) -> Result<()> {
    writer.shared().standing().phase.check_filling()?;
    let inserted = match inserts {
        Some(inserts) => insert_all(writer, &layout, inserts).await?,
        None => false,
    };
    if !inserted {
        writer.begin().await?;
        let result = store_layout(writer, tables, &layout).await;
        writer.end(result).await?;
    }
    writer.load().await?;
    committed(writer).await
}

/// Inserts a patch of records that are new. False when one of them is there already, or its unique value is taken: nothing was
/// written then, and it has to be looked at closely.
async fn insert_all(writer: &mut Writer, layout: &Layout, inserts: Vec<Prepared>) -> Result<bool> {
    writer.begin().await?;
    for statement in inserts {
        match statement.execute(writer.conn()).await {
            Ok(_) => {}
            Err(error) if is_constraint(&error) => {
                writer.rollback().await;
                return Ok(false);
            }
            Err(error) => return writer.end(Err(error.into())).await,
        }
    }
    let ends = store_ends(writer, layout).await;
    writer.end(ends).await?;
    Ok(true)
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
    store_ends(writer, layout).await
}

/// The heads of chains, and where commit order stands.
async fn store_ends(writer: &mut Writer, layout: &Layout) -> Result<(), Failure> {
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
