//! Views for people and their tools, with proper types, in a namespace of their own beside the store's (`fleet_read`).

use fleet_core::store::Column;
use sqlx::{Row as _, postgres::PgConnection};

use crate::{
    sql::{Ident, Sql, Table},
    tables::{Fixed, KindTable, LaneTable, Tables},
    writer::Failure,
};

/// Makes all views anew. They are a convenience: where the database's user may not make a namespace for them, there are none.
pub(super) async fn make(conn: &mut PgConnection, fixed: &Fixed, tables: &Tables) -> Result<(), Failure> {
    let there = Sql::new("SELECT table_name::text FROM information_schema.views WHERE table_schema = $1");
    let rows = there.query().bind(fixed.views.bare().to_owned()).fetch_all(&mut *conn);
    let mut statements = vec![Sql::new(format!("CREATE SCHEMA IF NOT EXISTS {}", fixed.views))];
    for row in rows.await? {
        let name: String = row.try_get(0)?;
        let view = Table::new(&fixed.views, &[&name]);
        // Views that people made upon ours go with them: what they stand on has changed.
        statements.push(Sql::new(format!("DROP VIEW IF EXISTS {view} CASCADE")));
    }
    for kind in tables.schema.kinds() {
        statements.push(of_kind(fixed, tables.kind(kind.name)?));
    }
    for lane in tables.schema.lanes() {
        statements.push(of_lane(fixed, tables.lane(lane.name)?));
    }
    for latest in tables.schema.latests() {
        let view = Table::new(&fixed.views, &[&format!("{}_latest", latest.name)]);
        let table = &tables.latest(latest.name)?.table;
        statements.push(Sql::new(format!(
            "CREATE VIEW {view} AS SELECT t.id, t.body::jsonb AS body FROM {table} t"
        )));
    }
    let all = statements.into_iter().reduce(|all, next| all.then(&next));
    let Some(all) = all else { return Ok(()) };
    Sql::new("SAVEPOINT views").run(conn).await?;
    match all.run(conn).await {
        Ok(()) => Ok(Sql::new("RELEASE SAVEPOINT views").run(conn).await?),
        Err(error) if error.as_database_error().is_some() => {
            tracing::warn!(%error, views = fixed.views.bare(), "the views for people were not made");
            Ok(Sql::new("ROLLBACK TO SAVEPOINT views").run(conn).await?)
        }
        Err(error) => Err(error.into()),
    }
}

fn of_kind(fixed: &Fixed, table: &KindTable) -> Sql {
    let view = Table::new(&fixed.views, &[table.kind.name]);
    let column = |column: &Column| {
        let name = Ident::new(&[column.name]);
        match table.many(column.name) {
            None => format!(", t.{name}"),
            Some(many) => format!(
                ", ARRAY(SELECT m.value FROM {} m WHERE m.id = t.id ORDER BY m.value) AS {name}",
                many.table
            ),
        }
    };
    let columns: String = table.kind.columns.iter().map(column).collect();
    Sql::new(format!(
        "CREATE VIEW {view} AS SELECT t.id, t.rev, t.seq{columns}, t.body::jsonb AS body FROM {} t",
        table.table
    ))
}

fn of_lane(fixed: &Fixed, table: &LaneTable) -> Sql {
    let view = Table::new(&fixed.views, &[&format!("{}_rows", table.lane.name)]);
    let column = |column: &Column| format!(", t.{}", Ident::new(&[column.name]));
    let columns: String = table.lane.columns.iter().map(column).collect();
    let link = if table.lane.chained {
        ", t._number AS number, t._hash AS hash"
    } else {
        ""
    };
    // A declared column may be called `time`, and the view has one then. A sender's clock may be beyond what the engine's type
    // can say: there is no time then.
    let time = if table.lane.columns.iter().any(|column| column.name == "time") {
        String::new()
    } else {
        let (first, last) = (
            fleet_core::kernel::Timestamp::MIN.as_micros(),
            fleet_core::kernel::Timestamp::MAX.as_micros(),
        );
        format!(
            ", CASE WHEN t.at BETWEEN {first} AND {last} THEN timestamptz 'epoch' + (t.at / 1000000) * interval '1 second' \
             + (t.at % 1000000) * interval '1 microsecond' END AS time"
        )
    };
    Sql::new(format!(
        "CREATE VIEW {view} AS SELECT t.stream{time}, t.at, t.n{columns}{link}, t.body::jsonb AS body FROM {} t",
        table.table
    ))
}
