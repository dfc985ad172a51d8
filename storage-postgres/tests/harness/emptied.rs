//! Stores for the many sequences of the model test: made now and then, emptied for each sequence.
//!
//! A store is a hundred tables and indexes, and making and dropping them takes several times as long as the sequence that runs on
//! it. So a namespace is used again. Whoever is still connected to it is sent away; all rows are deleted, and those that
//! the store had when it was new are put back; what the engine then says of its tables, columns, constraints, indexes and views
//! must be, word for word, what it said when the store was new. Where it is not, or where the sequence before has failed (so in
//! all of its shrinking), another one is made. What a store keeps in memory is new each time: it is opened anew.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use fleet_core::store::Backend as _;
use fleet_storage_conformance::{Guard, Harness, Opened, async_trait};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, postgres::PgConnection};

use crate::common::{Namespace, database};

/// A namespace is used so often: deleted rows do not pile up for ever, and making one is tested, too.
const USES: u32 = 200;

/// Stores that are prepared with the schema of the suite already.
#[derive(Debug, Default)]
pub struct Emptied {
    idle: Arc<Mutex<Vec<Kept>>>,
}

/// A namespace, and a connection beside the store.
#[derive(Debug)]
struct Kept {
    conn: PgConnection,
    namespace: Namespace,
    /// Empties it and puts back what a new store holds.
    empty: String,
    /// What the engine says of a new store.
    shape: String,
    uses: u32,
}

/// Gives the namespace back after a sequence that has not failed.
struct Lent {
    kept: Option<Kept>,
    idle: Arc<Mutex<Vec<Kept>>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        let kept = self.kept.take().filter(|kept| kept.uses < USES && !thread::panicking());
        if let Some(kept) = kept {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        }
    }
}

/// The first column of what a statement gives, as texts.
async fn ask(conn: &mut PgConnection, text: &str) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::raw_sql(AssertSqlSafe(text.to_owned())).fetch_all(conn).await?;
    rows.iter().map(|row| row.try_get_unchecked(0)).collect()
}

/// Everything that can be said of the shape of a namespace and of its views, a line for each thing.
fn shape_of(name: &str) -> String {
    format!(
        "WITH c AS (SELECT c.* FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE s.nspname = '{name}') \
         SELECT concat_ws(' ', 'class', relname, relkind, relpersistence, reloptions, pg_get_expr(relpartbound, oid)) AS line FROM c \
         UNION ALL SELECT concat_ws(' ', 'column', c.relname, attnum, attname, format_type(atttypid, atttypmod), attnotnull, \
           attcollation, attstorage, attcompression, attisdropped, pg_get_expr(d.adbin, d.adrelid)) \
           FROM c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
           WHERE c.relkind IN ('r', 'p') \
         UNION ALL SELECT concat_ws(' ', 'constraint', c.relname, conname, convalidated, pg_get_constraintdef(k.oid)) \
           FROM c JOIN pg_constraint k ON k.conrelid = c.oid \
         UNION ALL SELECT concat_ws(' ', 'index', indisprimary, indisvalid, indisready, pg_get_indexdef(x.indexrelid)) \
           FROM c JOIN pg_index x ON x.indrelid = c.oid \
         UNION ALL SELECT concat_ws(' ', 'view', viewname, definition) FROM pg_views WHERE schemaname = '{name}_read' \
         ORDER BY line"
    )
}

impl Kept {
    /// A new store, prepared and closed, and what is to be known of it.
    async fn make() -> Self {
        let namespace = Namespace::new();
        let opened = super::open(namespace).await;
        let schema = fleet_storage_conformance::schema();
        opened.backend.prepare(&schema).await.expect("a new store is prepared");
        opened.backend.close().await.expect("a store closes");
        let namespace = *opened.guard.downcast::<Namespace>().expect("the guard of this harness");
        let mut conn = PgConnection::connect(database()).await.expect("the database answers");
        let name = namespace.name.clone();
        let tables = format!("SELECT tablename::text FROM pg_tables WHERE schemaname = '{name}' ORDER BY 1");
        let mut empty =
            format!("BEGIN; SET LOCAL lock_timeout = '10s'; LOCK TABLE \"{name}\".gate IN ACCESS EXCLUSIVE MODE");
        let mut keep = format!("CREATE SCHEMA \"{name}_new\"");
        for table in ask(&mut conn, &tables).await.expect("the tables are listed") {
            empty += &format!("; DELETE FROM \"{name}\".\"{table}\"");
            let some = format!("SELECT 'some' FROM ONLY \"{name}\".\"{table}\" LIMIT 1");
            if !ask(&mut conn, &some).await.expect("a table is read").is_empty() {
                keep += &format!("; CREATE TABLE \"{name}_new\".\"{table}\" AS TABLE \"{name}\".\"{table}\"");
                empty += &format!("; INSERT INTO \"{name}\".\"{table}\" TABLE \"{name}_new\".\"{table}\"");
            }
        }
        ask(&mut conn, &keep).await.expect("what a new store holds is kept");
        let mut kept = Self {
            conn,
            namespace,
            empty: format!("{empty}; COMMIT"),
            shape: String::new(),
            uses: 0,
        };
        kept.shape = kept.look().await.expect("the shape is read");
        kept
    }

    async fn look(&mut self) -> Result<String, sqlx::Error> {
        Ok(ask(&mut self.conn, &shape_of(&self.namespace.name)).await?.join("\n"))
    }

    /// Makes it a new store again; false where it cannot be.
    async fn renew(&mut self) -> Result<bool, sqlx::Error> {
        let away = format!(
            "SELECT pg_terminate_backend(pid, 5000)::text FROM pg_stat_activity WHERE application_name = '{}'",
            self.namespace.name
        );
        ask(&mut self.conn, &away).await?;
        let empty = self.empty.clone();
        ask(&mut self.conn, &empty).await?;
        Ok(self.look().await? == self.shape)
    }
}

#[async_trait]
impl Harness for Emptied {
    async fn open(&self) -> Opened {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut kept = match idle {
                None => Kept::make().await,
                Some(mut kept) => match kept.renew().await {
                    Ok(true) => kept,
                    Ok(false) | Err(_) => continue,
                },
            };
            kept.uses += 1;
            let lent = Lent {
                kept: Some(kept),
                idle: Arc::clone(&self.idle),
            };
            return self.reopen(Box::new(lent)).await;
        }
    }

    fn reopens(&self) -> bool {
        true
    }

    async fn reopen(&self, guard: Guard) -> Opened {
        let lent = guard.downcast::<Lent>().expect("the guard of this harness");
        let uri = lent.kept.as_ref().map(|kept| {
            let namespace = &kept.namespace;
            format!("{}&application_name={}", namespace.uri(), namespace.name)
        });
        let (store, clock) = super::open_at(&uri.expect("it is lent")).await;
        Opened::new(store, *lent).with_clock(clock)
    }
}
