//! Indexes that a store is without while it is filled, and how it comes by them.
//!
//! Records come in the order of their keys, so that a primary key grows at its end and costs little. All other indexes but
//! unique ones are dropped when an empty store begins to be filled, and built when all records are there: sorting once is several
//! times cheaper than a place in the middle for each row. What a store lacks is in the engine's own catalogue, so nothing is
//! remembered beside it: a store that broke off in between is still being filled, refuses to serve, and comes by what it lacks
//! in [`settle`], or in the transaction by which it serves or is emptied. Until then no lookup rests on what is missing: a patch
//! that replaces documents has [`build_sides`] make what it needs, and rests on nothing else
//! ([`Sides::All`](crate::writer::Sides)).

use std::{collections::HashSet, sync::Arc};

use fleet_core::store::Result;
use futures::future::try_join_all;
use sqlx::{Row as _, postgres::PgConnection};

use super::end;
use crate::{
    PostgresStore,
    sql::{Ident, Sql, Table},
    tables::{Fixed, Tables},
    writer::{Failure, Stands},
};

/// Indexes that are built at once.
const AT_ONCE: usize = 2;

/// What may be missing while a store is filled: an index, and what makes it.
type Put = (Ident, Sql);

fn all(tables: &Tables) -> Vec<Put> {
    let kinds = tables.kinds.values().flat_map(|kind| {
        let sides = kind.many.iter().flat_map(|many| [many.by_value(), many.by_document()]);
        kind.indexes().into_iter().chain(sides)
    });
    let lanes = tables.lanes.values().flat_map(|lane| lane.indexes());
    kinds.chain(lanes).collect()
}

/// Drops them; leaves them where somebody reads for long.
pub(super) async fn put_off(conn: &mut PgConnection, fixed: &Fixed, tables: &Tables) -> Result<(), Failure> {
    let mut drop: Vec<Sql> = all(tables)
        .iter()
        .map(|(index, _)| {
            let index = Table::new(&fixed.namespace, &[index.bare()]);
            Sql::new(format!("DROP INDEX IF EXISTS {index}"))
        })
        .collect();
    for many in tables.kinds.values().flat_map(|kind| &kind.many) {
        // Stores of format 1 have a primary key there, whose name the engine chose.
        let key = primary_key().query().bind(fixed.namespace.bare().to_owned());
        let key = key.bind(many.table.name.bare().to_owned());
        if let Some(row) = key.fetch_optional(&mut *conn).await? {
            let name: String = row.try_get(0)?;
            let name = Ident::new(&[&name]);
            drop.push(Sql::new(format!(
                "ALTER TABLE {} DROP CONSTRAINT IF EXISTS {name}",
                many.table
            )));
        }
    }
    Sql::new("SAVEPOINT put_off; SET LOCAL lock_timeout = 300")
        .run(conn)
        .await?;
    for sql in drop {
        if sql.run(conn).await.is_err() {
            return Ok(Sql::new("ROLLBACK TO SAVEPOINT put_off").run(conn).await?);
        }
    }
    Ok(())
}

fn primary_key() -> Sql {
    Sql::new(
        "SELECT c.conname::text FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid \
         JOIN pg_namespace s ON s.oid = t.relnamespace WHERE c.contype = 'p' AND s.nspname = $1 AND t.relname = $2",
    )
}

/// Those that are missing.
async fn missing(conn: &mut PgConnection, fixed: &Fixed, tables: &Tables) -> Result<Vec<Put>, Failure> {
    let there = Sql::new(
        "SELECT i.relname::text, t.relname::text, x.indisprimary FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid \
         JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace s ON s.oid = t.relnamespace WHERE s.nspname = $1",
    );
    let there = there.query().bind(fixed.namespace.bare().to_owned());
    let (mut indexes, mut keyed) = (HashSet::new(), HashSet::new());
    for row in there.fetch_all(conn).await? {
        indexes.insert(row.try_get::<String, _>(0)?);
        if row.try_get(2)? {
            keyed.insert(row.try_get::<String, _>(1)?);
        }
    }
    // The order of values is the primary key in stores of format 1.
    let keys: Vec<Ident> = tables
        .kinds
        .values()
        .flat_map(|kind| &kind.many)
        .filter(|many| keyed.contains(many.table.name.bare()))
        .map(|many| many.by_value().0)
        .collect();
    let missing = all(tables)
        .into_iter()
        .filter(|(index, _)| !indexes.contains(index.bare()) && !keys.contains(index));
    Ok(missing.collect())
}

/// Builds what is missing, within a transaction.
pub(super) async fn build(conn: &mut PgConnection, fixed: &Fixed, tables: &Tables) -> Result<(), Failure> {
    for (_, create) in missing(conn, fixed, tables).await? {
        create.run(conn).await?;
    }
    Ok(())
}

/// Builds what finds the many values of a document, where that is missing.
pub(super) async fn build_sides(store: &PostgresStore, tables: &Tables) -> Result<()> {
    let fixed = &store.server().fixed;
    let (mut lent, _) = store.others().begin(&fixed.begin_build).await?;
    let missing = missing(lent.conn()?, fixed, tables).await?;
    drop(lent);
    let sides: Vec<Ident> = tables
        .kinds
        .values()
        .flat_map(|kind| &kind.many)
        .map(|many| many.by_document().0)
        .collect();
    for (_, create) in missing.into_iter().filter(|(index, _)| sides.contains(index)) {
        // One at a time: who holds several tables and waits for one more may wait for a patch that waits for us.
        build_share(store, vec![create]).await?;
    }
    Ok(())
}

/// Builds what a store that is being filled lacks, several indexes at once; then all that was patched is durable.
pub(super) async fn settle(store: &PostgresStore, tables: &Arc<Tables>) -> Result<()> {
    let fixed = &store.server().fixed;
    let (mut lent, rows) = store.others().begin(&fixed.begin_build).await?;
    let stands = Stands::read(&rows)?;
    stands.standing.phase.check_filling()?;
    stands.check_declared(tables)?;
    let missing = missing(lent.conn()?, fixed, tables).await?;
    drop(lent);
    let mut shares: Vec<Vec<Sql>> = vec![Vec::new(); AT_ONCE];
    for (n, (_, create)) in missing.into_iter().enumerate() {
        shares[n % AT_ONCE].push(create);
    }
    let shares = shares.into_iter().filter(|share| !share.is_empty());
    try_join_all(shares.map(|share| build_share(store, share))).await?;
    // This commit is synchronous and changes something: with it everything is on disk that was committed before.
    let (mut lent, _) = store.others().begin(&fixed.begin_alone).await?;
    let marked = fixed.mark.run(lent.conn()?).await.map_err(Failure::from);
    end(lent, marked).await
}

async fn build_share(store: &PostgresStore, share: Vec<Sql>) -> Result<()> {
    let (mut lent, rows) = store.others().begin(&store.server().fixed.begin_build).await?;
    let built = async {
        Stands::read(&rows)?.standing.phase.check_filling()?;
        for sql in share {
            sql.run(lent.conn()?).await?;
        }
        Ok::<_, Failure>(())
    }
    .await;
    end(lent, built).await
}
