//! A view: one read transaction, for a limited time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use fleet_core::store::{
    Cursor, Doc, DocPage, Error, Filter, Find, Key, Latest, Link, Name, ReadRows, Record, RecordKey, Result, RowCursor,
    RowPage, Seq, StoredRow, Value, View, check_filter, check_find, check_keys, check_latest, check_latest_page,
    check_places, check_records, check_rows, check_tally,
    group::Place,
    plan::{ListPlan, choose_row_way, obvious_row_way, row_ways},
};
use sqlx::{
    Row as _,
    sqlite::{SqliteConnection, SqliteRow},
};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::AbortHandle,
    time::sleep,
};
use uuid::Uuid;

use super::{
    decode::{chain_row, document, indexed_row, latest_value, stored_row},
    filter::{Form, Subject, condition},
    plan::List,
    pool::{Lent, Readers},
    records::records,
    rows::Rows,
};
use crate::{
    error::from_engine,
    pack::Pack,
    sql::{Ident, Prepared, Statement, literal, read_uint, read_value},
    tables::Tables,
};

/// One place in commit order.
#[derive(Debug)]
pub(crate) struct SqliteView {
    seq: Seq,
    tables: Arc<Tables>,
    /// Whether all indexes are there.
    indexed: bool,
    /// None once its time is over.
    lent: Arc<Mutex<Option<Lent>>>,
    limit: Duration,
    timer: AbortHandle,
}

impl SqliteView {
    pub(crate) async fn open(readers: &Arc<Readers>, tables: Arc<Tables>, limit: Duration) -> Result<Self> {
        let mut lent = readers.begin().await?;
        let row = literal(
            "SELECT (SELECT value FROM meta WHERE name = 'seq'), (SELECT value FROM meta WHERE name = 'put_off')",
        )
        .fetch_one(lent.conn()?)
        .await
        .map_err(from_engine)?;
        let seq = read_uint(&row, 0).map_err(from_engine)?;
        let put_off: Option<i64> = row.try_get(1).map_err(from_engine)?;
        let stop = lent.stop();
        let lent = Arc::new(Mutex::new(Some(lent)));
        let timer = tokio::spawn(end_after(limit, stop, Arc::clone(&lent))).abort_handle();
        Ok(Self {
            seq,
            tables,
            indexed: put_off.unwrap_or(0) == 0,
            lent,
            limit,
            timer,
        })
    }

    async fn lent(&self) -> Result<MutexGuard<'_, Option<Lent>>> {
        let lent = self.lent.lock().await;
        if lent.is_some() { Ok(lent) } else { Err(self.over()) }
    }

    /// A store that is being filled does without its indexes: it answers all the same, slowly.
    fn prepared(&self, statement: Statement) -> Prepared {
        match self.indexed {
            true => statement.query(),
            false => statement.unhinted().query(),
        }
    }

    fn over(&self) -> Error {
        Error::Unavailable(format!("the view was held for {:?} and has ended", self.limit).into())
    }
}

/// A transaction that stays open keeps the log from being cleared, so a view ends by itself.
async fn end_after(limit: Duration, stop: Arc<AtomicBool>, lent: Arc<Mutex<Option<Lent>>>) {
    sleep(limit).await;
    stop.store(true, Ordering::Relaxed);
    drop(lent.lock().await.take());
}

impl Drop for SqliteView {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

fn connection(lent: &mut Option<Lent>) -> Result<&mut SqliteConnection> {
    match lent {
        Some(lent) => lent.conn(),
        None => Err(crate::error::closed()),
    }
}

#[async_trait]
impl View for SqliteView {
    fn seq(&self) -> Seq {
        self.seq
    }

    async fn renew(&mut self) -> Result<()> {
        self.timer.abort();
        let stop = match &*self.lent().await? {
            Some(lent) => lent.stop(),
            None => return Err(self.over()),
        };
        self.timer = tokio::spawn(end_after(self.limit, stop, Arc::clone(&self.lent))).abort_handle();
        Ok(())
    }

    async fn get(&mut self, keys: &[Key]) -> Result<Vec<Option<Doc>>> {
        check_keys(&self.tables.schema, keys)?;
        let mut lent = self.lent().await?;
        let conn = connection(&mut lent)?;
        if let [key] = keys {
            let row = self
                .tables
                .kind(key.kind)?
                .get_one
                .query()
                .bind(key.id.as_bytes().to_vec());
            let row = row.fetch_optional(conn).await.map_err(from_engine)?;
            let doc = row
                .map(|row| document(key.kind, &row))
                .transpose()
                .map_err(from_engine)?;
            return Ok(vec![doc]);
        }
        let mut found = HashMap::with_capacity(keys.len());
        for (kind, pack) in packs(keys) {
            let rows = self.tables.kind(kind)?.get.pack(pack).fetch_all(&mut *conn).await;
            for row in rows.map_err(from_engine)? {
                let doc = document(kind, &row).map_err(from_engine)?;
                found.insert(doc.key, doc);
            }
        }
        // A key may be asked for twice.
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn latest(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        check_latest(&self.tables.schema, keys)?;
        let mut lent = self.lent().await?;
        let conn = connection(&mut lent)?;
        let mut found = HashMap::with_capacity(keys.len());
        for (set, pack) in packs(keys) {
            let rows = self.tables.latest(set)?.get.pack(pack).fetch_all(&mut *conn).await;
            for row in rows.map_err(from_engine)? {
                let latest = latest_value(set, &row).map_err(from_engine)?;
                found.insert(latest.key, latest.body);
            }
        }
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn latest_page(&mut self, set: Name, after: Option<Uuid>, limit: usize) -> Result<Vec<Latest>> {
        check_latest_page(&self.tables.schema, set, limit)?;
        let mut lent = self.lent().await?;
        // The empty blob sorts before every id.
        let after = after.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
        let rows = self.tables.latest(set)?.page.query().bind(after).bind(as_limit(limit));
        let rows = rows.fetch_all(connection(&mut lent)?).await.map_err(from_engine)?;
        rows.iter()
            .map(|row| latest_value(set, row).map_err(from_engine))
            .collect()
    }

    async fn find(&mut self, find: &Find) -> Result<DocPage> {
        let (kind, order) = check_find(&self.tables.schema, find)?;
        let table = self.tables.kind(kind.name)?;
        let mut lent = self.lent().await?;
        let conn = connection(&mut lent)?;
        let list = List::new(table, find, order);
        let way = match list.plan.choose() {
            Ok(way) => way,
            Err((walk, candidates)) => {
                let row = self.prepared(list.probe(&candidates)).fetch_one(&mut *conn).await;
                ListPlan::narrowest(walk, candidates, &counts(&row.map_err(from_engine)?)?)
            }
        };
        // One more than the page: it tells whether there is a next one.
        let wanted = find.limit + 1;
        let mut found = Vec::new();
        for stretch in list.plan.stretches() {
            let statement = list.statement(way, &stretch, as_limit(wanted - found.len()));
            let rows = self
                .prepared(statement)
                .fetch_all(&mut *conn)
                .await
                .map_err(from_engine)?;
            for row in rows {
                let doc = document(kind.name, &row).map_err(from_engine)?;
                let value = match order {
                    Some(order) => read_value(&row, 4, order.r#type).map_err(from_engine)?,
                    None => Value::Null,
                };
                found.push((doc, value));
            }
            if found.len() >= wanted {
                break;
            }
        }
        let more = found.len() > find.limit;
        found.truncate(find.limit);
        let next = match found.last() {
            Some((doc, value)) if more => Some(Cursor {
                value: value.clone(),
                id: doc.key.id,
            }),
            _ => None,
        };
        Ok(DocPage {
            docs: found.into_iter().map(|(doc, _)| doc).collect(),
            next,
        })
    }

    async fn count(&mut self, kind: Name, filter: &Filter) -> Result<u64> {
        let declared = self.tables.schema.kind(kind)?;
        check_filter(declared.name, &declared.columns, filter)?;
        let subject = Subject::Kind(self.tables.kind(declared.name)?);
        let mut lent = self.lent().await?;
        let mut statement = Statement::default();
        statement
            .sql("SELECT count(*) FROM ")
            .name(subject.table())
            .sql(" t WHERE ");
        condition(&mut statement, subject, filter, Form::Driving);
        let row = self.prepared(statement).fetch_one(connection(&mut lent)?).await;
        row.and_then(|row| read_uint(&row, 0)).map_err(from_engine)
    }

    async fn tally(&mut self, kind: Name, filter: &Filter, by: Name) -> Result<Vec<(Value, u64)>> {
        let (declared, position) = check_tally(&self.tables.schema, kind, filter, by)?;
        let table = self.tables.kind(declared.name)?;
        let column = declared.columns[position];
        let mut lent = self.lent().await?;
        let mut statement = Statement::default();
        match table.many(column.name) {
            None => {
                let name = Ident::new(&[column.name]);
                statement
                    .sql("SELECT t.")
                    .name(&name)
                    .sql(", count(*) FROM ")
                    .name(&table.table);
                statement.sql(" t WHERE ");
            }
            Some(many) => {
                statement
                    .sql("SELECT m.value, count(*) FROM ")
                    .name(&many.table)
                    .sql(" m");
                if !matches!(filter, Filter::All) {
                    statement.sql(" JOIN ").name(&table.table).sql(" t ON t.id = m.id");
                }
                statement.sql(" WHERE ");
            }
        }
        condition(&mut statement, Subject::Kind(table), filter, Form::Driving);
        statement.sql(" GROUP BY 1 ORDER BY 1");
        let rows = self.prepared(statement).fetch_all(connection(&mut lent)?).await;
        rows.map_err(from_engine)?
            .iter()
            .map(|row| Ok((read_value(row, 0, column.r#type)?, read_uint(row, 1)?)))
            .collect::<Result<_, sqlx::Error>>()
            .map_err(from_engine)
    }

    async fn rows(&mut self, read: &ReadRows) -> Result<RowPage> {
        let lane = check_rows(&self.tables.schema, read)?;
        let table = self.tables.lane(lane.name)?;
        let mut lent = self.lent().await?;
        let conn = connection(&mut lent)?;
        let rows = Rows::new(table, read);
        let ways = row_ways(read);
        let way = match obvious_row_way(&ways) {
            Some(way) => way,
            None => {
                let row = self.prepared(rows.probe(&ways)).fetch_one(&mut *conn).await;
                choose_row_way(&ways, &counts(&row.map_err(from_engine)?)?)
            }
        };
        let statement = rows.statement(way, as_limit(read.limit + 1));
        let found = self.prepared(statement).fetch_all(conn).await.map_err(from_engine)?;
        let more = found.len() > read.limit;
        let rows = found.iter().take(read.limit).map(|row| indexed_row(row, lane));
        let rows: Vec<StoredRow> = rows.collect::<Result<_, _>>().map_err(from_engine)?;
        let next = rows.last().filter(|_| more).map(|stored| RowCursor {
            at: stored.row.at,
            stream: stored.row.stream,
            n: stored.row.n,
        });
        Ok(RowPage { rows, next })
    }

    async fn chain_head(&mut self, lane: Name) -> Result<Option<Link>> {
        let declared = self.tables.schema.lane(lane)?;
        let mut lent = self.lent().await?;
        let row = literal("SELECT number, hash FROM heads WHERE lane = ?1").bind(declared.name);
        let row = row.fetch_optional(connection(&mut lent)?).await.map_err(from_engine)?;
        match row {
            None => Ok(None),
            Some(row) => chain_row(&row, 0).map_err(from_engine),
        }
    }

    async fn records(&mut self, after: Option<RecordKey>, limit: usize) -> Result<Vec<Record>> {
        check_records(limit)?;
        let mut lent = self.lent().await?;
        records(connection(&mut lent)?, &self.tables, after, limit).await
    }

    async fn rows_at(&mut self, places: &[Place]) -> Result<Vec<Option<StoredRow>>> {
        check_places(&self.tables.schema, places)?;
        let mut lent = self.lent().await?;
        let conn = connection(&mut lent)?;
        let mut packs: BTreeMap<Name, Pack> = BTreeMap::new();
        for place in places {
            let pack = packs.entry(place.lane).or_insert_with(Pack::new);
            pack.row().id(&place.stream).int(place.at).int(i64::from(place.n));
        }
        let mut found = HashMap::with_capacity(places.len());
        for (lane, pack) in packs {
            let table = self.tables.lane(lane)?;
            let rows = table.places.pack(pack).fetch_all(&mut *conn).await;
            for row in rows.map_err(from_engine)? {
                let stored = stored_row(&row, table.lane.chained).map_err(from_engine)?;
                found.insert(Place::of(lane, &stored.row), stored);
            }
        }
        Ok(places.iter().map(|place| found.get(place).cloned()).collect())
    }
}

/// All columns of a row of numbers.
fn counts(row: &SqliteRow) -> Result<Vec<i64>> {
    let counts: Result<_, _> = (0..row.len()).map(|n| row.try_get(n)).collect();
    counts.map_err(from_engine)
}

/// Ids by kind or set.
fn packs(keys: &[Key]) -> BTreeMap<Name, Pack> {
    let mut packs = BTreeMap::new();
    for key in keys {
        packs.entry(key.kind).or_insert_with(Pack::new).row().id(&key.id);
    }
    packs
}

fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
