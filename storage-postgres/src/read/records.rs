//! Everything, a page at a time, in the order of an export.

use fleet_core::store::{Behind, Patch, Record, RecordKey, Result};
use futures::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::decode::{document, latest_value, stored_row};
use crate::{error::from_engine, sql::Prepared, tables::Tables};

/// Records that a page has room for from the beginning.
const PAGE: usize = 2_000;

/// A page while it is read.
struct Page {
    records: Vec<Record>,
    limit: usize,
    bytes: usize,
}

impl Page {
    fn is_full(&self) -> bool {
        self.records.len() >= self.limit || self.bytes >= Patch::BYTES
    }

    /// Rows that a statement may still give.
    fn room(&self) -> i64 {
        i64::try_from(self.limit - self.records.len()).unwrap_or(i64::MAX)
    }

    async fn take(
        &mut self,
        conn: &mut PgConnection,
        statement: Prepared,
        read: impl Fn(&PgRow) -> Result<Record, sqlx::Error>,
    ) -> Result<()> {
        let mut rows = statement.fetch(conn);
        while !self.is_full()
            && let Some(row) = rows.try_next().await.map_err(from_engine)?
        {
            let record = read(&row).map_err(from_engine)?;
            self.bytes += record.size();
            self.records.push(record);
        }
        Ok(())
    }
}

/// The records after a key: tables by name, each from where `after` leaves it.
pub(super) async fn records(
    conn: &mut PgConnection,
    tables: &Tables,
    after: Option<RecordKey>,
    limit: usize,
) -> Result<Vec<Record>> {
    let mut page = Page {
        // In one step, and not by doubling: see `copy::Rows`.
        records: Vec::with_capacity(limit.min(PAGE)),
        limit,
        bytes: 0,
    };
    for kind in tables.schema.kinds() {
        let name = kind.name;
        let Some(from) = ids(RecordKey::behind_in_kind(after, name)) else {
            continue;
        };
        if page.is_full() {
            break;
        }
        let statement = tables.kind(name)?.page.query().bind(from).bind(page.room());
        page.take(conn, statement, |row| document(name, row).map(Record::Doc))
            .await?;
    }
    for latest in tables.schema.latests() {
        let name = latest.name;
        let Some(from) = ids(RecordKey::behind_in_set(after, name)) else {
            continue;
        };
        if page.is_full() {
            break;
        }
        let statement = tables.latest(name)?.page.query().bind(from).bind(page.room());
        page.take(conn, statement, |row| latest_value(name, row).map(Record::Latest))
            .await?;
    }
    for lane in tables.schema.lanes() {
        let Some((stream, at, n)) = places(RecordKey::behind_in_lane(after, lane.name)) else {
            continue;
        };
        if page.is_full() {
            break;
        }
        let rows = tables.lane(lane.name)?.page.query();
        let statement = rows.bind(stream).bind(at).bind(n).bind(page.room());
        page.take(conn, statement, |row| {
            stored_row(row, lane.chained).map(|stored| Record::Row(lane.name, stored))
        })
        .await?;
    }
    Ok(page.records)
}

/// The id (none: all) that a table of documents or latest values is read behind.
fn ids(behind: Behind<Uuid>) -> Option<Option<Uuid>> {
    match behind {
        Behind::All => Some(None),
        Behind::After(id) => Some(Some(id)),
        Behind::Nothing => None,
    }
}

/// Before the first place of every lane.
pub(crate) const FIRST: (Uuid, i64, i64) = (Uuid::nil(), i64::MIN, -1);

/// The place that a lane is read behind.
fn places(behind: Behind<(Uuid, i64, u32)>) -> Option<(Uuid, i64, i64)> {
    match behind {
        Behind::All => Some(FIRST),
        Behind::After((stream, at, n)) => Some((stream, at, i64::from(n))),
        Behind::Nothing => None,
    }
}
