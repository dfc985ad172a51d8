//! How much room the store takes in its database.

use std::collections::HashMap;

use fleet_core::store::{Footprint, Result};
use sqlx::Row as _;

use crate::{PostgresStore, error::from_engine, sql::Sql, tables::Tables};

/// Asks the engine for the sizes of all tables of the namespace, with their indexes. A table is named by what it belongs to:
/// `kind.device`, `many.device.label`, `part.audit.2026-11-21`.
pub(crate) async fn footprint(store: &PostgresStore, tables: &Tables) -> Result<Footprint> {
    let fixed = &store.server().fixed;
    let (mut lent, _) = store.others().begin(&fixed.begin).await?;
    let sizes = Sql::new(
        "SELECT c.relname::text, pg_total_relation_size(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relkind = 'r'",
    );
    let rows = sizes.query().bind(fixed.namespace.bare().to_owned());
    let rows = rows.fetch_all(lent.conn()?).await.map_err(from_engine)?;
    let (mut bytes, mut parts) = (0, HashMap::<String, u64>::new());
    for row in rows {
        let name: String = row.try_get(0).map_err(from_engine)?;
        let size: i64 = row.try_get(1).map_err(from_engine)?;
        let size = size.unsigned_abs();
        bytes += size;
        if let Some(owner) = name.split('.').nth(1) {
            *parts.entry(owner.to_owned()).or_default() += size;
        }
    }
    let names = tables.schema.names();
    Ok(Footprint {
        bytes: Some(bytes),
        names: names.filter_map(|name| Some((name, *parts.get(name)?))).collect(),
    })
}
