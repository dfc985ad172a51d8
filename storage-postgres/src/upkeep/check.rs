//! Looks for damage: what the engine says while everything is read, index values against bodies, the feed, chains.

use std::{collections::HashMap, sync::Arc};

use fleet_core::store::{ChainWalk, Finding, Key, Result, Seq, Severity, Value};
use sqlx::{
    Row as _,
    postgres::{PgConnection, PgRow},
};
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use crate::{
    PostgresStore,
    error::from_engine,
    read::{FIRST, Sizes, chain_row, stored_row},
    sql::{read_body, read_uint, read_value},
    tables::{Fixed, KindTable, LaneTable, Tables},
};

/// Findings after which no more are collected.
const FINDINGS: usize = 1_000;

/// Documents or rows that are looked at together, at most, and bytes in their bodies, about.
const STEP: usize = 2_000;
const BYTES: usize = 2 * 1024 * 1024;

/// How many are read next.
fn next(sizes: Sizes) -> i64 {
    i64::try_from(sizes.fit(BYTES).min(STEP)).unwrap_or(i64::MAX)
}

/// Bytes in this column of a page.
fn bytes(rows: &[PgRow], body: usize) -> Result<usize, sqlx::Error> {
    rows.iter()
        .map(|row| Ok(row.try_get_raw(body)?.as_bytes().map_or(0, <[u8]>::len)))
        .sum()
}

/// Checks the whole store, from one moment of it.
pub(crate) async fn check(store: &PostgresStore, tables: &Arc<Tables>) -> Result<Vec<Finding>> {
    let fixed = &store.server().fixed;
    let (mut lent, _) = store.others().begin(&fixed.begin_view).await?;
    let mut check = Check::default();
    match check.run(lent.conn()?, fixed, tables).await {
        Ok(()) => {}
        Err(error) => match from_engine(error) {
            // Damage is what was looked for, not a failure to look.
            fleet_core::store::Error::Corrupt(text) => check.found(Severity::Damage, "database", text),
            error => return Err(error),
        },
    }
    Ok(check.findings)
}

#[derive(Default)]
struct Check {
    findings: Vec<Finding>,
    /// The page that is being judged.
    judging: Option<JoinHandle<Result<Vec<Finding>, sqlx::Error>>>,
}

type Stored = HashMap<Uuid, HashMap<usize, Vec<Value>>>;

impl Check {
    fn found(&mut self, severity: Severity, subject: impl Into<String>, problem: impl Into<String>) {
        if self.findings.len() < FINDINGS {
            self.findings.push(Finding {
                severity,
                subject: subject.into(),
                problem: problem.into(),
            });
        }
    }

    async fn run(&mut self, conn: &mut PgConnection, fixed: &Fixed, tables: &Arc<Tables>) -> Result<(), sqlx::Error> {
        let seq = self.feed(conn, fixed).await?;
        for kind in tables.schema.kinds() {
            if let Ok(table) = tables.kind(kind.name) {
                self.kind(conn, tables, table, seq).await?;
            }
        }
        self.settle().await?;
        for lane in tables.schema.lanes() {
            if let Ok(table) = tables.lane(lane.name) {
                self.lane(conn, tables, table).await?;
                self.settle().await?;
                if lane.chained {
                    self.chain(conn, fixed, table).await?;
                }
            }
        }
        Ok(())
    }

    /// Commit order and the feed; returns where commit order stands.
    async fn feed(&mut self, conn: &mut PgConnection, fixed: &Fixed) -> Result<Seq, sqlx::Error> {
        let row = fixed.places.query().fetch_one(conn).await?;
        let seq = read_uint(&row, 0)?;
        for (column, what) in [(1, "the floor of the feed"), (2, "a batch")] {
            let at = read_uint(&row, column)?;
            if at > seq {
                let problem = format!("{what} stands at {at}, ahead of commit order at {seq}");
                self.found(Severity::Damage, "feed", problem);
            }
        }
        Ok(seq)
    }

    async fn kind(
        &mut self,
        conn: &mut PgConnection,
        tables: &Arc<Tables>,
        table: &KindTable,
        seq: Seq,
    ) -> Result<(), sqlx::Error> {
        let (mut after, mut sizes): (Option<Uuid>, _) = (None, Sizes::default());
        loop {
            let walk = table.walk.query().bind(after).bind(next(sizes));
            let rows = walk.fetch_all(&mut *conn).await?;
            sizes.add(rows.len(), bytes(&rows, 3)?);
            let upto: Option<Uuid> = rows.last().map(|last| last.try_get(0)).transpose()?;
            let many = many(conn, table, after, upto).await?;
            let (tables, name, ended) = (Arc::clone(tables), table.kind.name, rows.is_empty());
            self.judge(move |check| match tables.kind(name) {
                Ok(table) => check.documents(table, &rows, many, seq),
                Err(_) => Ok(()),
            })
            .await?;
            if ended {
                return Ok(());
            }
            after = upto;
        }
    }

    /// Judges a page on another thread while the next is read: bodies are parsed there.
    async fn judge(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), sqlx::Error> + Send + 'static,
    ) -> Result<(), sqlx::Error> {
        self.settle().await?;
        self.judging = Some(spawn_blocking(move || {
            let mut check = Self::default();
            work(&mut check).map(|()| check.findings)
        }));
        Ok(())
    }

    /// Waits for the page that is being judged.
    async fn settle(&mut self) -> Result<(), sqlx::Error> {
        if let Some(judging) = self.judging.take() {
            let found = judging.await.map_err(|_| sqlx::Error::WorkerCrashed)??;
            self.findings.extend(found);
            self.findings.truncate(FINDINGS);
        }
        Ok(())
    }

    fn documents(&mut self, table: &KindTable, rows: &[PgRow], mut many: Stored, seq: Seq) -> Result<(), sqlx::Error> {
        let kind = &*table.kind;
        for row in rows {
            let id: Uuid = row.try_get(0)?;
            let subject = || Key::new(kind.name, id).to_string();
            if read_uint(row, 1)? == 0 || read_uint(row, 2)? > seq {
                self.found(Severity::Damage, subject(), "its revision or its place cannot be");
            }
            let index = match kind.index(&read_body(row, 3)?) {
                Ok(index) => index,
                Err(error) => {
                    self.found(Severity::Damage, subject(), error.to_string());
                    many.remove(&id);
                    continue;
                }
            };
            let mut stored = many.remove(&id).unwrap_or_default();
            let mut single = 5;
            for (position, (column, values)) in kind.columns.iter().zip(&index).enumerate() {
                let same = if column.many {
                    stored.remove(&position).unwrap_or_default() == *values
                } else {
                    single += 1;
                    [read_value(row, single - 1, column.r#type)?] == values[..]
                };
                if !same {
                    let problem = format!("column {} is not what the body says", column.name);
                    self.found(Severity::Repairable, subject(), problem);
                }
            }
        }
        for id in many.keys() {
            let subject = Key::new(kind.name, *id).to_string();
            let problem = "an index names a document that is not there";
            self.found(Severity::Repairable, subject, problem);
        }
        Ok(())
    }

    async fn lane(
        &mut self,
        conn: &mut PgConnection,
        tables: &Arc<Tables>,
        table: &LaneTable,
    ) -> Result<(), sqlx::Error> {
        let ((mut stream, mut at, mut n), mut sizes) = (FIRST, Sizes::default());
        loop {
            let walk = table.walk.query().bind(stream).bind(at).bind(n).bind(next(sizes));
            let rows = walk.fetch_all(&mut *conn).await?;
            sizes.add(rows.len(), bytes(&rows, 3)?);
            let Some(last) = rows.last() else { return Ok(()) };
            (stream, at, n) = (last.try_get(0)?, last.try_get(1)?, last.try_get(2)?);
            let (tables, name) = (Arc::clone(tables), table.lane.name);
            self.judge(move |check| match tables.lane(name) {
                Ok(table) => check.rows(table, &rows),
                Err(_) => Ok(()),
            })
            .await?;
        }
    }

    fn rows(&mut self, table: &LaneTable, rows: &[PgRow]) -> Result<(), sqlx::Error> {
        let lane = &*table.lane;
        let first = if lane.chained { 6 } else { 4 };
        for row in rows {
            let stored = stored_row(row, lane.chained)?.row;
            let subject = || format!("{}/{}/{}/{}", lane.name, stored.stream, stored.at, stored.n);
            match lane.index(&stored.body) {
                Err(error) => self.found(Severity::Damage, subject(), error.to_string()),
                Ok(index) => {
                    for (position, column) in lane.columns.iter().enumerate() {
                        if read_value(row, first + position, column.r#type)? != index[position] {
                            let problem = format!("column {} is not what the body says", column.name);
                            self.found(Severity::Repairable, subject(), problem);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    async fn chain(&mut self, conn: &mut PgConnection, fixed: &Fixed, table: &LaneTable) -> Result<(), sqlx::Error> {
        let name = table.lane.name;
        let mut walk = ChainWalk::default();
        let (mut number, mut sizes) = (i64::MIN, Sizes::default());
        while !walk.is_broken() {
            let rows = table
                .chain
                .query()
                .bind(number)
                .bind(next(sizes))
                .fetch_all(&mut *conn)
                .await?;
            sizes.add(rows.len(), bytes(&rows, 3)?);
            let Some(end) = rows.last() else { break };
            number = end.try_get(4)?;
            for row in &rows {
                let stored = stored_row(row, true)?;
                walk.row(&stored.row, stored.link);
            }
        }
        let head = fixed.head.query().bind(name).fetch_optional(conn).await?;
        let head = head.map(|row| chain_row(&row, 0)).transpose()?;
        self.findings.extend(walk.findings(name, head));
        self.findings.truncate(FINDINGS);
        Ok(())
    }
}

/// Values in the side tables, by document and by the column's place.
async fn many(
    conn: &mut PgConnection,
    table: &KindTable,
    after: Option<Uuid>,
    upto: Option<Uuid>,
) -> Result<Stored, sqlx::Error> {
    let mut found = Stored::new();
    for many in &table.many {
        for row in many.walk.query().bind(after).bind(upto).fetch_all(&mut *conn).await? {
            let value = read_value(&row, 1, many.column.r#type)?;
            let values = found.entry(row.try_get(0)?).or_default();
            values.entry(many.position).or_default().push(value);
        }
    }
    Ok(found)
}
