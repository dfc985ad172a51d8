//! Fills an empty store from an export, in bounded transactions. A mark in the file says that it is not whole yet.

use std::{collections::HashMap, sync::Arc};

use fleet_core::store::{
    Error, ExportDigest, Key, Latest, Name, Record, Result, Schema, Seq, StoredRow,
    group::{PutDoc, UniqueValue},
    limits,
};
use futures::{StreamExt as _, stream::BoxStream};
use sqlx::{Row as _, sqlite::SqliteConnection};
use uuid::Uuid;

use super::{half_imported, walk_chain};
use crate::{
    error::from_engine,
    sql::{Statement, literal},
    store::SqliteStore,
    tables::Tables,
    writer::{Failure, Writer, load_holders, store_documents, store_latest, store_rows},
};

/// Records and bytes of one transaction.
const CHUNK: usize = 2_000;
const CHUNK_BYTES: usize = 8 * 1024 * 1024;

/// Reads an export into the store.
pub(crate) async fn import(store: &SqliteStore, mut records: BoxStream<'static, Result<Record>>) -> Result<Record> {
    let tables = store.alone(|writer| Box::pin(begin(writer))).await?;
    let mut reader = Reader::default();
    let end = loop {
        let mut chunk = Chunk::default();
        while chunk.records < CHUNK && chunk.bytes < CHUNK_BYTES && reader.end.is_none() {
            match records.next().await {
                None => return Err(Error::Corrupt("the export has no end".into())),
                Some(record) => reader.read(&tables, record?, &mut chunk)?,
            }
        }
        if chunk.records > 0 {
            let tables = Arc::clone(&tables);
            store
                .alone(move |writer| Box::pin(async move { store_chunk(writer, &tables, chunk).await }))
                .await?;
        }
        if let Some(end) = reader.end.take() {
            break end;
        }
    };
    match records.next().await {
        None => {}
        Some(Err(error)) => return Err(error),
        Some(Ok(_)) => return Err(Error::Corrupt("the export goes on after its end".into())),
    }
    let Record::End { seq, .. } = end else {
        return Err(Error::Corrupt("the export has no end".into()));
    };
    store
        .alone(move |writer| Box::pin(async move { finish(writer, &tables, seq).await }))
        .await?;
    Ok(end)
}

/// Marks the store, which has to be empty.
async fn begin(writer: &mut Writer) -> Result<Arc<Tables>> {
    writer.shared().check_usable()?;
    let tables = writer.shared().tables()?;
    writer.begin().await?;
    let result = mark(writer, &tables).await;
    writer.end(result).await?;
    writer.shared().set_importing(true);
    Ok(tables)
}

async fn mark(writer: &mut Writer, tables: &Tables) -> Result<(), Failure> {
    let mut statement = Statement::default();
    statement.sql("SELECT 0");
    let kinds = tables.kinds.values().map(|table| &table.table);
    let lanes = tables.lanes.values().map(|table| &table.table);
    let latests = tables.latests.values().map(|table| &table.table);
    for table in kinds.chain(lanes).chain(latests) {
        statement.sql(" + EXISTS (SELECT 1 FROM ").name(table).sql(")");
    }
    let held: i64 = statement
        .query()
        .persistent(false)
        .fetch_one(writer.conn())
        .await?
        .try_get(0)?;
    if writer.seq() > 0 || held > 0 {
        return Err(Error::Refused("the store is not empty; an import needs an empty one".into()).into());
    }
    set_importing(writer, 1).await
}

async fn set_importing(writer: &mut Writer, importing: i64) -> Result<(), Failure> {
    literal("UPDATE meta SET value = ?1 WHERE name = 'importing'")
        .bind(importing)
        .execute(writer.conn())
        .await?;
    Ok(())
}

/// Records that go into one transaction.
#[derive(Default)]
struct Chunk {
    records: usize,
    bytes: usize,
    documents: Vec<PutDoc>,
    latest: Vec<Latest>,
    rows: Vec<(Name, StoredRow)>,
}

/// Reads records in their order, and refuses what is not an export.
#[derive(Default)]
struct Reader {
    digest: ExportDigest,
    last: Option<(u8, Name, Uuid, i64, u32)>,
    newest: Seq,
    end: Option<Record>,
}

impl Reader {
    fn read(&mut self, tables: &Tables, record: Record, chunk: &mut Chunk) -> Result<()> {
        let corrupt = |what: String| Err(Error::Corrupt(what));
        let place = match &record {
            Record::Doc(doc) => (0, doc.key.kind, doc.key.id, 0, 0),
            Record::Latest(latest) => (1, latest.key.kind, latest.key.id, 0, 0),
            Record::Row(lane, stored) => (2, *lane, stored.row.stream, stored.row.at, stored.row.n),
            Record::End { .. } => return self.read_end(record),
        };
        if self.last.is_some_and(|last| last >= place) {
            return corrupt(format!("the export is out of order at {} {}", place.1, place.2));
        }
        self.last = Some(place);
        self.digest.add(&record);
        chunk.records += 1;
        let length = match record {
            Record::Doc(doc) => {
                let kind = tables.schema.kind(doc.key.kind)?;
                if doc.rev == 0 || doc.seq == 0 {
                    return corrupt(format!("{} has no revision or no place", doc.key));
                }
                self.newest = self.newest.max(doc.seq);
                let index = kind.index(&doc.body)?;
                let length = doc.body.len();
                chunk.documents.push(PutDoc {
                    key: doc.key,
                    rev: doc.rev,
                    seq: doc.seq,
                    body: doc.body,
                    index,
                });
                length
            }
            Record::Latest(latest) => {
                tables.schema.latest(latest.key.kind)?;
                let length = latest.body.len();
                chunk.latest.push(latest);
                length
            }
            Record::Row(lane, mut stored) => {
                let table = tables.lane(lane)?;
                if table.lane.chained != stored.link.is_some() {
                    return corrupt(format!("a row of lane {lane} has a link too many or none"));
                }
                stored.row.index = table.lane.index(&stored.row.body)?;
                let length = stored.row.body.len();
                chunk.rows.push((table.lane.name, stored));
                length
            }
            Record::End { .. } => 0,
        };
        if length > limits::BODY {
            return corrupt(format!("a body of {length} bytes"));
        }
        chunk.bytes += length;
        Ok(())
    }

    fn read_end(&mut self, end: Record) -> Result<()> {
        let Record::End { seq, .. } = end else { return Ok(()) };
        if self.newest > seq {
            return Err(Error::Corrupt(
                "the export holds documents of commits after its end".into(),
            ));
        }
        let expected = std::mem::take(&mut self.digest).end(seq);
        if end != expected {
            return Err(Error::Corrupt(format!(
                "the export is not what its end says: {expected:?}, not {end:?}"
            )));
        }
        self.end = Some(end);
        Ok(())
    }
}

async fn store_chunk(writer: &mut Writer, tables: &Tables, chunk: Chunk) -> Result<()> {
    check_importing(writer)?;
    writer.begin().await?;
    let result: Result<(), Failure> = async {
        let conn = writer.conn();
        check_unique(conn, tables, &chunk.documents).await?;
        store_documents(conn, tables, &chunk.documents, &HashMap::new()).await?;
        store_latest(conn, tables, &chunk.latest, &[]).await?;
        store_rows(conn, tables, &chunk.rows).await
    }
    .await;
    writer.end(result).await
}

/// Unique values are taken once, in this chunk and in those before it.
async fn check_unique(conn: &mut SqliteConnection, tables: &Tables, documents: &[PutDoc]) -> Result<(), Failure> {
    let wanted = UniqueValue::wanted(&tables.schema, documents.iter().map(|doc| (doc.key, &doc.index)))?;
    let values = wanted.iter().map(|(value, _)| value);
    let mut holders = load_holders(conn, tables, values).await?;
    for (value, id) in wanted {
        let (kind, column) = (value.kind, value.column);
        if let Some(holder) = holders.insert(value, id) {
            let holder = Key::new(kind, holder);
            return Err(Error::Taken { column, holder }.into());
        }
    }
    Ok(())
}

fn check_importing(writer: &Writer) -> Result<()> {
    match writer.shared().check_usable() {
        Ok(()) => Err(half_imported()),
        Err(_) => Ok(()),
    }
}

/// Verifies the chains, sets commit order, and takes the mark away.
async fn finish(writer: &mut Writer, tables: &Tables, seq: Seq) -> Result<()> {
    check_importing(writer)?;
    writer.begin().await?;
    let result = complete(writer, &tables.schema, tables, seq).await;
    writer.end(result).await?;
    writer.shared().set_importing(false);
    writer.load().await
}

async fn complete(writer: &mut Writer, schema: &Schema, tables: &Tables, seq: Seq) -> Result<(), Failure> {
    for lane in schema.lanes().filter(|lane| lane.chained) {
        let chain = walk_chain(writer.conn(), tables.lane(lane.name)?)
            .await
            .map_err(from_engine)?;
        if let Some(broken) = chain.broken {
            return Err(Error::Corrupt(format!("lane {}: {broken}", lane.name)).into());
        }
        if let Some(head) = chain.head {
            literal("INSERT INTO heads (lane, number, hash) VALUES (?1, ?2, ?3)")
                .bind(lane.name)
                .bind(i64::try_from(head.number).unwrap_or(i64::MAX))
                .bind(head.hash.to_vec())
                .execute(writer.conn())
                .await?;
        }
    }
    let seq = i64::try_from(seq).map_err(|_| Error::Corrupt("the export's place is out of range".into()))?;
    literal("UPDATE meta SET value = ?1 WHERE name IN ('seq', 'floor')")
        .bind(seq)
        .execute(writer.conn())
        .await?;
    set_importing(writer, 0).await
}
