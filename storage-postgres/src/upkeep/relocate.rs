//! Moving what the store holds: its standing, and patches of records as they are. All of it is in the database, so that every
//! server that uses it sees the same at once.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use fleet_core::store::{
    Error, Key, Layout, Move, Name, Patch, Phase, RecordKey, Relocate, Result, Schema, Seq, Standing, Step, Tracked,
    Tracking,
    group::{Place, UniqueValue},
};
use sqlx::{
    Row as _,
    postgres::{PgConnection, PgRow},
};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{end, indexes, nowhere};
use crate::{
    PostgresStore,
    error::{Class, class, from_engine},
    sql::{Sql, Statement, Table, read_n, signed},
    tables::{Fixed, Tables, by_lane},
    writer::{
        Bundle, Copies, Failure, Known, Sides, Stands, load_documents, load_holders, read_standing, replace_documents,
        replace_rows, store_deletes, store_latest,
    },
};

#[async_trait]
impl Relocate for PostgresStore {
    async fn standing(&self) -> Result<Standing> {
        self.check_open()?;
        let fixed = &self.server().fixed;
        let (_lent, rows) = self.others().begin(&fixed.begin.then(&fixed.standing)).await?;
        let text: String = match rows.first() {
            Some(row) => row.try_get(0).map_err(from_engine)?,
            None => return Err(nowhere()),
        };
        read_standing(&text)
    }

    async fn freeze(&self, to: Move) -> Result<Seq> {
        self.tables()?;
        // Beginning waits for every writer of every server; whoever writes afterwards reads that the store is frozen.
        let seq = self.step(Step::Freeze(to)).await?;
        // Who follows the feed learns that no more will come, here and on other servers.
        self.shared().newest.send_modify(|_| {});
        self.shared().turned.notify_one();
        Ok(seq)
    }

    async fn fill(&self, from: Move) -> Result<()> {
        let tables = self.tables()?;
        let fixed = &self.server().fixed;
        let (mut lent, rows) = self.others().begin(&fixed.begin_alone).await?;
        let done = fill(lent.conn()?, fixed, &tables, &rows, from).await;
        self.shared().appends.store(true, Ordering::Relaxed);
        end(lent, done).await
    }

    async fn patch(&self, patch: Patch) -> Result<()> {
        let tables = self.tables()?;
        let appends = self.shared().appends.load(Ordering::Relaxed);
        let (layout, copies) = match lay_out(patch, Arc::clone(&tables), appends).await {
            Ok(laid_out) => laid_out,
            Err(error) => {
                self.standing().await?.phase.check_filling()?;
                return Err(error);
            }
        };
        let fixed = &self.server().fixed;
        if let Some(copies) = copies {
            let (mut lent, rows) = self.others().begin(&fixed.begin_patch).await?;
            lent.copying(true);
            let done = append(lent.conn()?, fixed, &tables, &rows, &layout, copies).await;
            lent.copying(false);
            match done {
                Err(Failure::Engine(error)) if matches!(class(&error), Class::Taken | Class::Again) => {
                    // Something is there already: from now on what is there is asked for.
                    self.shared().appends.store(false, Ordering::Relaxed);
                }
                done => return end(lent, done).await,
            }
        }
        if touches_sides(&tables, &layout)? {
            indexes::build_sides(self, &tables).await?;
        }
        let (mut lent, rows) = self.others().begin(&fixed.begin_commits).await?;
        lent.copying(true);
        let done = store_layout(lent.conn()?, fixed, &tables, &rows, &layout).await;
        lent.copying(false);
        end(lent, done).await
    }

    async fn settle(&self) -> Result<()> {
        indexes::settle(self, &self.tables()?).await
    }

    async fn serve(&self) -> Result<()> {
        let tables = self.tables()?;
        if matches!(self.standing().await?.phase, Phase::Filling(_)) {
            // Where it was done before, there is nothing to do.
            indexes::settle(self, &tables).await?;
        }
        let seq = self.step(Step::Serve).await?;
        self.shared().found_at(seq);
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        let tables = self.tables()?;
        let fixed = &self.server().fixed;
        let (mut lent, rows) = self.others().begin(&fixed.begin_alone).await?;
        let done = clear(lent.conn()?, fixed, &tables, &rows).await;
        end(lent, done).await?;
        self.shared().found_at(0);
        Ok(())
    }

    async fn track(&self, on: bool) -> Result<()> {
        self.tables()?;
        track(self, on).await?;
        self.shared().tracks.store(on, Ordering::SeqCst);
        Ok(())
    }

    async fn tracked(&self, after: u64) -> Result<Tracked> {
        let tables = self.tables()?;
        let fixed = &self.server().fixed;
        let (mut lent, rows) = self.others().begin(&fixed.begin_commits).await?;
        let done = tracked(lent.conn()?, fixed, &tables.schema, &rows, after).await;
        end(lent, done).await
    }
}

impl PostgresStore {
    /// Takes a step, if the table of phases allows it; returns where commit order stands.
    async fn step(&self, step: Step) -> Result<Seq> {
        let fixed = &self.server().fixed;
        let (mut lent, rows) = self.others().begin(&fixed.begin_alone).await?;
        let done = take_step(lent.conn()?, fixed, &rows, &step).await;
        end(lent, done).await
    }
}

/// Ends the notes that this store began.
pub(crate) async fn cease_tracking(store: &PostgresStore) -> Result<()> {
    track(store, false).await
}

async fn track(store: &PostgresStore, on: bool) -> Result<()> {
    let fixed = &store.server().fixed;
    let (mut lent, _) = store.others().begin(&fixed.begin_alone).await?;
    let done: Result<(), Failure> = async {
        let conn = lent.conn()?;
        fixed.forget_notes.query().bind(i64::MAX).execute(&mut *conn).await?;
        fixed.set_tracking.query().bind(on).execute(conn).await?;
        Ok(())
    }
    .await;
    end(lent, done).await
}

async fn take_step(conn: &mut PgConnection, fixed: &Fixed, rows: &[PgRow], step: &Step) -> Result<Seq, Failure> {
    let stands = Stands::read(rows)?;
    let next = stands.standing.after(step)?;
    store_standing(conn, fixed, &next).await?;
    Ok(stands.seq)
}

async fn store_standing(conn: &mut PgConnection, fixed: &Fixed, standing: &Standing) -> Result<(), Failure> {
    let text = serde_json::to_string(standing).map_err(|error| Error::Invalid(error.to_string()))?;
    fixed.set_standing.query().bind(text).execute(conn).await?;
    Ok(())
}

async fn fill(
    conn: &mut PgConnection,
    fixed: &Fixed,
    tables: &Tables,
    rows: &[PgRow],
    from: Move,
) -> Result<(), Failure> {
    let stands = Stands::read(rows)?;
    stands.check_declared(tables)?;
    let empty = stands.seq == 0 && !holds_anything(conn, tables).await?;
    let next = stands.standing.after(&Step::Fill { from, empty })?;
    if empty {
        indexes::put_off(conn, fixed, tables).await?;
    }
    fixed.forget_history.run(conn).await?;
    store_standing(conn, fixed, &next).await
}

async fn holds_anything(conn: &mut PgConnection, tables: &Tables) -> Result<bool, Failure> {
    let mut statement = Statement::default();
    statement.sql("SELECT false");
    for table in all(tables) {
        statement
            .sql(" OR EXISTS (SELECT 1 FROM ")
            .table(table)
            .sql(" t WHERE true)");
    }
    let held = statement.query().fetch_one(conn).await?;
    Ok(held.try_get(0)?)
}

/// The tables that records are in; side tables are not among them.
fn all(tables: &Tables) -> impl Iterator<Item = &Table> {
    let kinds = tables.kinds.values().map(|table| &table.table);
    let lanes = tables.lanes.values().map(|table| &table.table);
    let latests = tables.latests.values().map(|table| &table.table);
    kinds.chain(lanes).chain(latests)
}

async fn clear(conn: &mut PgConnection, fixed: &Fixed, tables: &Tables, rows: &[PgRow]) -> Result<(), Failure> {
    let next = Stands::read(rows)?.standing.after(&Step::Clear)?;
    let sides = tables.kinds.values().flat_map(|kind| &kind.many);
    let emptied: Vec<&Table> = all(tables).chain(sides.map(|many| &many.table)).collect();
    let names: Vec<String> = emptied.iter().map(ToString::to_string).collect();
    if !names.is_empty() {
        // At once where nobody looks; row by row where somebody does, who must go on seeing what was there.
        Sql::new("SAVEPOINT emptied").run(conn).await?;
        let truncate = fixed.shut.then(&Sql::new(format!("TRUNCATE {}", names.join(", "))));
        if truncate.run(conn).await.is_err() {
            Sql::new("ROLLBACK TO SAVEPOINT emptied").run(conn).await?;
            for table in emptied {
                Sql::new(format!("DELETE FROM {table}")).run(conn).await?;
            }
        }
    }
    indexes::build(conn, fixed, tables).await?;
    fixed.restart.run(conn).await?;
    fixed.forget_history.run(conn).await?;
    store_standing(conn, fixed, &next).await
}

/// Whether documents with many values are replaced or removed.
fn touches_sides(tables: &Tables, layout: &Layout) -> Result<bool> {
    let keys = layout.puts.iter().map(|put| &put.key).chain(&layout.deletes);
    let kinds: BTreeSet<Name> = keys.map(|key| key.kind).collect();
    for kind in kinds {
        if !tables.kind(kind)?.many.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a patch means, and, where all of it is taken to be new, as rows to be copied. On another thread: bodies are parsed there,
/// while the engine is busy with the patch before.
async fn lay_out(patch: Patch, tables: Arc<Tables>, appends: bool) -> Result<(Layout, Option<Copies>)> {
    let made = spawn_blocking(move || {
        let appends = appends && patch.removed.is_empty();
        let layout = patch.lay_out(&tables.schema)?;
        if !appends {
            return Ok((layout, None));
        }
        let mut copies = Copies::default();
        copies.documents(&tables, layout.puts.iter())?;
        copies.rows(&tables, &layout.rows)?;
        copies.latest(&tables, &layout.latest)?;
        Ok((layout, Some(copies)))
    });
    made.await.map_err(|error| Error::Unavailable(Box::new(error)))?
}

/// Stores a patch of records that are not there. Several may do that at once: each has its own.
async fn append(
    conn: &mut PgConnection,
    fixed: &Fixed,
    tables: &Tables,
    rows: &[PgRow],
    layout: &Layout,
    copies: Copies,
) -> Result<(), Failure> {
    check_filled(tables, rows)?;
    copies.send(&mut *conn).await?;
    raise(conn, fixed, layout).await
}

fn check_filled(tables: &Tables, rows: &[PgRow]) -> Result<(), Failure> {
    let stands = Stands::read(rows)?;
    stands.standing.phase.check_filling()?;
    stands.check_declared(tables)?;
    Ok(())
}

async fn store_layout(
    conn: &mut PgConnection,
    fixed: &Fixed,
    tables: &Tables,
    rows: &[PgRow],
    layout: &Layout,
) -> Result<(), Failure> {
    check_filled(tables, rows)?;
    store_deletes(conn, tables, &layout.deletes).await?;
    for (lane, (streams, ats, ns)) in by_lane(&layout.removed_rows) {
        let remove = tables.lane(lane)?.remove.query().bind(streams).bind(ats).bind(ns);
        remove.execute(&mut *conn).await?;
    }
    store_latest(conn, tables, &layout.latest, &layout.drops).await?;
    replace_rows(conn, tables, &layout.rows).await?;

    let keys: Vec<Key> = layout.puts.iter().map(|put| put.key).collect();
    let mut known = Known::default();
    load_documents(conn, tables, &keys, &mut known).await?;
    known.holders = check_unique(conn, tables, layout, &keys).await?;
    replace_documents(conn, tables, &layout.puts, &known, Sides::All, Bundle::default()).await?;
    let mut copies = Copies::default();
    let new = layout.puts.iter().filter(|put| !known.sums.contains_key(&put.key));
    copies.documents(tables, new)?;
    copies.send(&mut *conn).await?;
    raise(conn, fixed, layout).await
}

/// Where chains and commit order stand after a patch.
async fn raise(conn: &mut PgConnection, fixed: &Fixed, layout: &Layout) -> Result<(), Failure> {
    for (lane, link) in &layout.heads {
        let raise = fixed.raise_head.query().bind(*lane).bind(signed(link.number));
        raise.bind(link.hash.as_slice()).execute(&mut *conn).await?;
    }
    let seq = i64::try_from(layout.seq).map_err(|_| Error::Corrupt("a place in commit order out of range".into()))?;
    fixed.raise_seq.query().bind(seq).execute(conn).await?;
    Ok(())
}

/// Unique values are held once; documents that the patch replaces give theirs up. Returns who held what is wanted.
async fn check_unique(
    conn: &mut PgConnection,
    tables: &Tables,
    layout: &Layout,
    keys: &[Key],
) -> Result<Vec<(UniqueValue, Uuid)>, Failure> {
    let wanted = UniqueValue::wanted(&tables.schema, layout.puts.iter().map(|put| (put.key, &put.index)))?;
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut holders = load_holders(conn, tables, wanted.iter().map(|(value, _)| value)).await?;
    let held = holders.iter().map(|(value, id)| (value.clone(), *id)).collect();
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
    Ok(held)
}

/// A page of notes, under the lock by which they are taken.
async fn tracked(
    conn: &mut PgConnection,
    fixed: &Fixed,
    schema: &Schema,
    rows: &[PgRow],
    after: u64,
) -> Result<Tracked, Failure> {
    let stands = Stands::read(rows)?;
    if !stands.tracking {
        return Err(Tracking::is_off().into());
    }
    let most = i64::try_from(Tracking::MOST).unwrap_or(i64::MAX);
    let lost = u64::try_from(stands.noted - most).unwrap_or(0);
    if after < lost {
        return Err(Error::Compacted(lost).into());
    }
    let upto = signed(after);
    fixed.forget_notes.query().bind(upto).execute(&mut *conn).await?;
    let page = i64::try_from(Tracking::PAGE).unwrap_or(i64::MAX);
    let notes = fixed.read_notes.query().bind(upto).bind(page).fetch_all(conn).await?;
    let mut keys = BTreeSet::new();
    let mut last = stands.noted;
    for row in &notes {
        last = row.try_get(0)?;
        let (r#type, name, id): (i64, String, Uuid) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        keys.insert(match r#type {
            0 => RecordKey::Doc(Key::new(schema.kind(&name)?.name, id)),
            1 => RecordKey::Latest(Key::new(schema.latest(&name)?.name, id)),
            _ => RecordKey::Row(Place {
                lane: schema.lane(&name)?.name,
                stream: id,
                at: row.try_get(4)?,
                n: read_n(row, 5)?,
            }),
        });
    }
    Ok(Tracked {
        upto: u64::try_from(last).unwrap_or(0),
        keys: keys.into_iter().collect(),
    })
}
