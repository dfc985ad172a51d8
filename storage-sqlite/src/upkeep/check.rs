//! Looks for damage: what the engine says of its file, index values against bodies, the feed, chains.

use std::collections::HashMap;

use fleet_core::store::{ColumnType, Finding, Key, Result, Seq, Severity, Value};
use futures::StreamExt as _;
use sqlx::{Connection as _, Row as _, sqlite::SqliteConnection};
use uuid::Uuid;

use super::walk_chain;
use crate::{
    error::{from_engine, is_damage},
    file::Place,
    read::{chain_row, stored_row},
    sql::{Prepared, literal, read_array, read_bytes, read_id, read_uint, read_value},
    tables::{KindTable, LaneTable, Tables},
    writer::Sums,
};

/// Findings after which no more are collected.
const FINDINGS: usize = 1_000;

/// Documents or rows that are looked at together.
const STEP: i64 = 128;

/// Bytes of bodies after which fewer are looked at together.
const BYTES: usize = 1024 * 1024;

/// Checks the whole store, from one moment of it and on a connection of its own.
pub(crate) async fn check(place: &Place, tables: &Tables) -> Result<Vec<Finding>> {
    let mut conn = place.connect_reader().await?;
    let mut check = Check { findings: Vec::new() };
    match check.run(&mut conn, tables).await {
        Ok(()) => {}
        // Damage is what was looked for, not a failure to look.
        Err(error) if is_damage(&error) => check.found(Severity::Damage, "file", error.to_string()),
        Err(error) => return Err(from_engine(error)),
    }
    conn.close().await.map_err(from_engine)?;
    Ok(check.findings)
}

/// How many of the next documents or rows are looked at together; `lengths` asks how long their bodies are, and reads none.
async fn step(conn: &mut SqliteConnection, lengths: Prepared) -> Result<i64, sqlx::Error> {
    let lengths = lengths.bind(STEP).fetch_one(conn).await?;
    let lengths: Option<String> = lengths.try_get(0)?;
    let (mut step, mut bytes) = (0, 0);
    for length in lengths.iter().flat_map(|lengths| lengths.split(',')) {
        if bytes >= BYTES {
            break;
        }
        step += 1;
        bytes += length.parse().unwrap_or(BYTES);
    }
    Ok(step.max(1))
}

/// Numbers with commas between them, in order. What is none shows as a value that is missing.
fn numbers(list: &str) -> Vec<Value> {
    let numbers = list.split(',').filter_map(|number| number.parse().ok());
    let mut values: Vec<Value> = numbers.map(Value::Int).collect();
    values.sort_unstable();
    values
}

struct Check {
    findings: Vec<Finding>,
}

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

    async fn run(&mut self, conn: &mut SqliteConnection, tables: &Tables) -> Result<(), sqlx::Error> {
        literal("BEGIN").execute(&mut *conn).await?;
        for row in literal("PRAGMA integrity_check(100)").fetch_all(&mut *conn).await? {
            let said: String = row.try_get(0)?;
            if said != "ok" {
                self.found(Severity::Damage, "file", said);
            }
        }
        let seq = self.feed(conn).await?;
        for kind in tables.schema.kinds() {
            if let Ok(table) = tables.kind(kind.name) {
                self.kind(conn, table, seq).await?;
            }
        }
        for lane in tables.schema.lanes() {
            if let Ok(table) = tables.lane(lane.name) {
                self.lane(conn, table).await?;
                if lane.chained {
                    self.chain(conn, table).await?;
                }
            }
        }
        literal("ROLLBACK").execute(conn).await.map(drop)
    }

    /// Commit order and the feed; returns where commit order stands.
    async fn feed(&mut self, conn: &mut SqliteConnection) -> Result<Seq, sqlx::Error> {
        let row = literal(
            "SELECT (SELECT value FROM meta WHERE name = 'seq'), (SELECT value FROM meta WHERE name = 'floor'), \
             coalesce((SELECT max(seq) FROM feed), 0), coalesce((SELECT max(seq) FROM batches), 0)",
        )
        .fetch_one(conn)
        .await?;
        let seq = read_uint(&row, 0)?;
        for (column, what) in [(1, "the floor of the feed"), (2, "the feed"), (3, "a batch")] {
            let at = read_uint(&row, column)?;
            if at > seq {
                let problem = format!("{what} stands at {at}, ahead of commit order at {seq}");
                self.found(Severity::Damage, "feed", problem);
            }
        }
        Ok(seq)
    }

    async fn kind(&mut self, conn: &mut SqliteConnection, table: &KindTable, seq: Seq) -> Result<(), sqlx::Error> {
        let kind = &*table.kind;
        // The empty blob comes before every id, seventeen bytes of ones after.
        let mut after = Vec::new();
        loop {
            let step = step(conn, table.pages.lengths.query().bind(after.clone())).await?;
            let walk = table.walk.query().bind(after.clone()).bind(step);
            let rows = walk.fetch_all(&mut *conn).await?;
            let upto = match rows.last() {
                Some(last) => read_id(last, 0)?.as_bytes().to_vec(),
                None => vec![0xff; 17],
            };
            let mut many = self.many(conn, table, &after, &upto).await?;
            for row in &rows {
                let id = read_id(row, 0)?;
                let subject = Key::new(kind.name, id).to_string();
                if read_uint(row, 1)? == 0 || read_uint(row, 2)? > seq {
                    self.found(Severity::Damage, &subject, "its revision or its place cannot be");
                }
                let index = match kind.index(&read_bytes(row, 5)?) {
                    Ok(index) => index,
                    Err(error) => {
                        self.found(Severity::Damage, &subject, error.to_string());
                        many.remove(&id);
                        continue;
                    }
                };
                let mut stored = many.remove(&id).unwrap_or_default();
                let mut single = 6;
                for (position, (column, values)) in kind.columns.iter().zip(&index).enumerate() {
                    let same = if column.many {
                        stored.remove(&position).unwrap_or_default() == *values
                    } else {
                        single += 1;
                        [read_value(row, single - 1, column.r#type)?] == values[..]
                    };
                    if !same {
                        let problem = format!("column {} is not what the body says", column.name);
                        self.found(Severity::Repairable, &subject, problem);
                    }
                }
                let sums = Sums {
                    singles: row.try_get(3)?,
                    many: read_array(row, 4)?,
                };
                if sums != Sums::of(table, &index) {
                    // Only a column that was forgotten leaves these behind, and the next write mends them.
                    tracing::debug!(%subject, "sums of forgotten columns");
                }
            }
            for id in many.keys() {
                let subject = Key::new(kind.name, *id).to_string();
                self.found(
                    Severity::Repairable,
                    subject,
                    "an index names a document that is not there",
                );
            }
            if rows.is_empty() {
                return Ok(());
            }
            after = upto;
        }
    }

    /// Values in the side tables, by document and by the column's place.
    async fn many(
        &mut self,
        conn: &mut SqliteConnection,
        table: &KindTable,
        after: &[u8],
        upto: &[u8],
    ) -> Result<HashMap<Uuid, HashMap<usize, Vec<Value>>>, sqlx::Error> {
        let mut found: HashMap<Uuid, HashMap<usize, Vec<Value>>> = HashMap::new();
        for many in &table.many {
            let mut rows = many
                .walk
                .query()
                .bind(after.to_vec())
                .bind(upto.to_vec())
                .fetch(&mut *conn);
            while let Some(row) = rows.next().await {
                let row = row?;
                let values = found.entry(read_id(&row, 0)?).or_default();
                let values = values.entry(many.position).or_default();
                if many.column.r#type == ColumnType::Int {
                    *values = numbers(row.try_get(1)?);
                } else {
                    values.push(read_value(&row, 1, many.column.r#type)?);
                }
            }
        }
        Ok(found)
    }

    async fn lane(&mut self, conn: &mut SqliteConnection, table: &LaneTable) -> Result<(), sqlx::Error> {
        let lane = &*table.lane;
        let first = if lane.chained { 6 } else { 4 };
        let (mut stream, mut at, mut n) = (Vec::new(), i64::MIN, -1_i64);
        loop {
            let lengths = table.pages.lengths.query().bind(stream.clone()).bind(at).bind(n);
            let step = step(conn, lengths).await?;
            let walk = table.walk.query().bind(stream).bind(at).bind(n).bind(step);
            let rows = walk.fetch_all(&mut *conn).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            (stream, at, n) = (last.try_get(0)?, last.try_get(1)?, last.try_get(2)?);
            for row in &rows {
                let stored = stored_row(row, lane.chained)?.row;
                let subject = format!("{}/{}/{}/{}", lane.name, stored.stream, stored.at, stored.n);
                match lane.index(&stored.body) {
                    Err(error) => self.found(Severity::Damage, subject, error.to_string()),
                    Ok(index) => {
                        for (position, column) in lane.columns.iter().enumerate() {
                            if read_value(row, first + position, column.r#type)? != index[position] {
                                let problem = format!("column {} is not what the body says", column.name);
                                self.found(Severity::Repairable, &subject, problem);
                            }
                        }
                    }
                }
            }
        }
    }

    async fn chain(&mut self, conn: &mut SqliteConnection, table: &LaneTable) -> Result<(), sqlx::Error> {
        let name = table.lane.name;
        let chain = walk_chain(conn, table).await?;
        let head = literal("SELECT number, hash FROM heads WHERE lane = ?1")
            .bind(name)
            .fetch_optional(conn)
            .await?;
        let head = match head {
            Some(row) => chain_row(&row, 0)?,
            None => None,
        };
        self.findings.extend(chain.findings(name, head));
        self.findings.truncate(FINDINGS);
        Ok(())
    }
}
