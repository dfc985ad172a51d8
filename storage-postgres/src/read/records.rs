//! Everything, a page at a time, in the order of an export.

use fleet_core::store::{Behind, Patch, Record, RecordKey, Result};
use futures::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::{
    decode::{document, latest_value, stored_row},
    sizes::Sizes,
};
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

    /// Reads a table from a place on, until it ends or the page is full. `rows` are those behind a place, at most so many; `read` makes
    /// a place and its record.
    async fn table<P>(
        &mut self,
        conn: &mut PgConnection,
        mut from: P,
        rows: impl Fn(&P, i64) -> Prepared,
        read: impl Fn(&PgRow) -> Result<(P, Record), sqlx::Error>,
    ) -> Result<()> {
        let (mut more, mut sizes) = (true, Sizes::default());
        while more && !self.is_full() {
            let (fit, mut got) = (sizes.fit(Patch::BYTES.saturating_sub(self.bytes)), 0);
            let room = fit.min(self.limit - self.records.len());
            let statement = rows(&from, i64::try_from(room).unwrap_or(i64::MAX));
            let mut rows = statement.fetch(&mut *conn);
            while !self.is_full()
                && let Some(row) = rows.try_next().await.map_err(from_engine)?
            {
                let (place, record) = read(&row).map_err(from_engine)?;
                sizes.add(1, record.size());
                self.bytes += record.size();
                self.records.push(record);
                from = place;
                got += 1;
            }
            more = got == room;
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
        let (name, table) = (kind.name, tables.kind(kind.name)?);
        let Some(from) = ids(RecordKey::behind_in_kind(after, name)) else {
            continue;
        };
        let rows = |from: &Option<Uuid>, most| table.page.query().bind(*from).bind(most);
        page.table(conn, from, rows, |row| {
            document(name, row).map(|doc| (Some(doc.key.id), Record::Doc(doc)))
        })
        .await?;
    }
    for latest in tables.schema.latests() {
        let (name, table) = (latest.name, tables.latest(latest.name)?);
        let Some(from) = ids(RecordKey::behind_in_set(after, name)) else {
            continue;
        };
        let rows = |from: &Option<Uuid>, most| table.page.query().bind(*from).bind(most);
        page.table(conn, from, rows, |row| {
            latest_value(name, row).map(|latest| (Some(latest.key.id), Record::Latest(latest)))
        })
        .await?;
    }
    for lane in tables.schema.lanes() {
        let table = tables.lane(lane.name)?;
        let Some(from) = places(RecordKey::behind_in_lane(after, lane.name)) else {
            continue;
        };
        let rows =
            |(stream, at, n): &(Uuid, i64, i64), most| table.page.query().bind(*stream).bind(*at).bind(*n).bind(most);
        page.table(conn, from, rows, |row| {
            let stored = stored_row(row, lane.chained)?;
            let place = (stored.row.stream, stored.row.at, i64::from(stored.row.n));
            Ok((place, Record::Row(lane.name, stored)))
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
