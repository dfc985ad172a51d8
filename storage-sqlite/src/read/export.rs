//! Everything, as records: a task reads table after table and hands the records on, a few at a time.

use std::{sync::Arc, time::Duration};

use fleet_core::store::{
    Doc, Error, ExportDigest, Key, LaneSchema, Latest, Link, Name, Record, Result, Row, Seq, StoredRow,
};
use futures::{StreamExt as _, stream::BoxStream};
use sqlx::{
    Row as _,
    sqlite::{SqliteConnection, SqliteRow},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::pool::Lent;
use crate::{
    error::from_engine,
    sql::{Sql, read_array, read_bytes, read_id, read_uint, read_value},
    tables::Tables,
};

/// Records that are read ahead.
const AHEAD: usize = 16;

/// Streams what a read transaction shows. The transaction ends with the stream, or when nobody reads on for `patience`.
pub(crate) fn export(
    lent: Lent,
    tables: Arc<Tables>,
    seq: Seq,
    patience: Duration,
) -> BoxStream<'static, Result<Record>> {
    let (records, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let mut export = Export {
            lent,
            records,
            digest: ExportDigest::default(),
            patience,
        };
        if let Err(Stop::Failed(error)) = export.run(&tables, seq).await {
            let _ = export.records.send(Err(error)).await;
        }
    });
    ReceiverStream::new(receiver).boxed()
}

/// Why an export ends early.
enum Stop {
    /// Nobody reads on.
    Left,
    Failed(Error),
}

struct Export {
    lent: Lent,
    records: mpsc::Sender<Result<Record>>,
    digest: ExportDigest,
    patience: Duration,
}

impl Export {
    async fn run(&mut self, tables: &Tables, seq: Seq) -> Result<(), Stop> {
        for kind in tables.schema.kinds() {
            let name = kind.name;
            let table = tables.kind(name).map_err(Stop::Failed)?;
            self.table(&table.export, |row| document(name, row).map(Record::Doc))
                .await?;
        }
        for latest in tables.schema.latests() {
            let name = latest.name;
            let table = tables.latest(name).map_err(Stop::Failed)?;
            self.table(&table.export, |row| latest_value(name, row).map(Record::Latest))
                .await?;
        }
        for lane in tables.schema.lanes() {
            let table = tables.lane(lane.name).map_err(Stop::Failed)?;
            self.table(&table.export, |row| {
                indexed_row(row, lane).map(|stored| Record::Row(lane.name, stored))
            })
            .await?;
        }
        let end = std::mem::take(&mut self.digest).end(seq);
        self.send(end).await
    }

    async fn table(
        &mut self,
        sql: &Sql,
        read: impl Fn(&SqliteRow) -> Result<Record, sqlx::Error> + Send,
    ) -> Result<(), Stop> {
        let Self {
            lent,
            records,
            digest,
            patience,
        } = self;
        let conn: &mut SqliteConnection = lent.conn().map_err(Stop::Failed)?;
        let mut rows = sql.query().fetch(conn);
        while let Some(row) = rows.next().await {
            let record = row
                .and_then(|row| read(&row))
                .map_err(|error| Stop::Failed(from_engine(error)))?;
            digest.add(&record);
            hand_on(records, record, *patience).await?;
        }
        Ok(())
    }

    async fn send(&mut self, record: Record) -> Result<(), Stop> {
        hand_on(&self.records, record, self.patience).await
    }
}

async fn hand_on(records: &mpsc::Sender<Result<Record>>, record: Record, patience: Duration) -> Result<(), Stop> {
    match records.send_timeout(Ok(record), patience).await {
        Ok(()) => Ok(()),
        Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Stop::Left),
        Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(Stop::Failed(Error::Unavailable(
            format!("nobody read the export for {patience:?}; it has ended").into(),
        ))),
    }
}

/// `id, rev, seq, body`.
pub(crate) fn document(kind: Name, row: &SqliteRow) -> Result<Doc, sqlx::Error> {
    Ok(Doc {
        key: Key::new(kind, read_id(row, 0)?),
        rev: read_uint(row, 1)?,
        seq: read_uint(row, 2)?,
        body: read_bytes(row, 3)?,
    })
}

/// `id, body`.
pub(crate) fn latest_value(set: Name, row: &SqliteRow) -> Result<Latest, sqlx::Error> {
    Ok(Latest {
        key: Key::new(set, read_id(row, 0)?),
        body: read_bytes(row, 1)?,
    })
}

/// A row with its index values, which follow what [`stored_row`] reads.
pub(crate) fn indexed_row(row: &SqliteRow, lane: &LaneSchema) -> Result<StoredRow, sqlx::Error> {
    let mut stored = stored_row(row, lane.chained)?;
    let first = if lane.chained { 6 } else { 4 };
    let values = lane.columns.iter().enumerate();
    stored.row.index = values
        .map(|(n, column)| read_value(row, first + n, column.r#type))
        .collect::<Result<_, _>>()?;
    Ok(stored)
}

/// `stream, at, n, body`, and `number, hash` of a chained lane, without index values.
pub(crate) fn stored_row(row: &SqliteRow, chained: bool) -> Result<StoredRow, sqlx::Error> {
    let link = if chained { Some(chain_row(row, 4)?) } else { None };
    Ok(StoredRow {
        row: Row {
            stream: read_id(row, 0)?,
            at: row.try_get(1)?,
            n: row.try_get(2)?,
            body: read_bytes(row, 3)?,
            index: Vec::new(),
        },
        link: link.flatten(),
    })
}

/// `number, hash`, from a column on; none where the row has no link.
pub(crate) fn chain_row(row: &SqliteRow, first: usize) -> Result<Option<Link>, sqlx::Error> {
    if row.try_get::<Option<i64>, _>(first)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Link {
        number: read_uint(row, first)?,
        hash: read_array(row, first + 1)?,
    }))
}
