//! One group, one transaction.

use std::{collections::HashMap, mem::take};

use fleet_core::store::{
    Error, Link, Name, RecordKey, Result, Schema, Seq, Standing, Tracking,
    group::{self, Answer, Needs, Work},
};
use futures::future::join;
use sqlx::{
    Row as _,
    postgres::{PgConnection, PgRow},
};

use super::{
    Known, Writes, effects,
    facts::{self, Found},
};
use crate::{
    error::from_engine,
    server::Server,
    sql::{literal, read_array, read_uint, signed},
    tables::{Fixed, Tables},
};

/// Columns of a row that tells where a chain ends.
const CHAIN: usize = 3;

/// An error on the way.
#[derive(Debug)]
pub(crate) enum Failure {
    /// From the engine; what it means depends on where it happened.
    Engine(sqlx::Error),
    /// Decided already.
    Store(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Engine(error) => from_engine(error),
            Failure::Store(error) => error,
        }
    }
}

/// Where the store stands, under the lock that a transaction began with.
#[derive(Debug)]
pub(crate) struct Stands {
    pub(crate) seq: Seq,
    pub(crate) declared: String,
    pub(crate) standing: Standing,
    pub(crate) tracking: bool,
    pub(crate) noted: i64,
}

impl Stands {
    /// The first row that `begin_commits` and its like give.
    pub(crate) fn read(rows: &[PgRow]) -> Result<Self, Failure> {
        let row = rows
            .first()
            .ok_or_else(|| Error::Corrupt("the store does not say where it stands".into()))?;
        let standing: String = row.try_get(2)?;
        Ok(Self {
            seq: read_uint(row, 0)?,
            declared: row.try_get(1)?,
            standing: read_standing(&standing)?,
            tracking: row.try_get(3)?,
            noted: row.try_get(4)?,
        })
    }

    /// Refused when another version prepared the store since we did.
    pub(crate) fn check_declared(&self, tables: &Tables) -> Result<()> {
        if self.declared == tables.declared {
            Ok(())
        } else {
            Err(Error::Refused(
                "another version of this program has prepared the store, or is preparing it; this one may not write any more. \
                 Restart it"
                    .into(),
            ))
        }
    }
}

/// A standing as it is stored.
pub(crate) fn read_standing(text: &str) -> Result<Standing> {
    serde_json::from_str(text).map_err(|error| Error::Corrupt(format!("the store's standing: {error}")))
}

/// What became of a group.
pub(super) struct Outcome {
    pub(super) answers: Vec<Answer>,
    pub(super) changed: bool,
    /// Where commit order stands now, if the group knows.
    pub(super) seq: Option<Seq>,
}

/// A group on its way.
pub(super) struct Group<'g> {
    pub(super) server: &'g Server,
    pub(super) tables: &'g Tables,
    pub(super) writes: Writes,
    /// Whether COMMIT was sent: from then on a failure may hide a success.
    pub(super) committing: bool,
}

impl Group<'_> {
    pub(super) async fn write(
        &mut self,
        conn: &mut PgConnection,
        work: &[Work],
        looks: bool,
    ) -> Result<Outcome, Failure> {
        let fixed = &self.server.fixed;
        let begin = match self.writes {
            Writes::Commits => &fixed.begin_commits,
            Writes::Ingests => &fixed.begin_ingests,
        };
        let mut needs = Needs::of(&self.tables.schema, work)?;
        let (begin, kinds) = facts::begin_with(begin, self.tables, &needs.documents)?;
        // Rows and ids of batches are taken to be new: where one is not, storing it fails.
        let (places, batches) = (take(&mut needs.rows), take(&mut needs.batches));
        if looks {
            (needs.rows, needs.batches) = (places.clone(), batches.clone());
        }
        // Made while the engine begins.
        let (rows, copied) = join(begin.rows(conn), async { work.to_vec() }).await;
        let rows = rows?;
        let stands = Stands::read(&rows)?;
        stands.standing.phase.check_serving()?;
        stands.check_declared(self.tables)?;
        let chains = rows.iter().skip(1).take_while(|row| row.len() == CHAIN).count();
        let (chains, documents) = rows.get(1..).unwrap_or_default().split_at(chains);
        let read = Read {
            seq: stands.seq,
            heads: read_heads(&self.tables.schema, chains)?,
            found: facts::read_found(&kinds, documents)?,
        };
        let (mut outcome, mut before) = self.decide(conn, copied, &read, &needs).await?;
        if !looks && outcome.answers.iter().any(is_refusal) {
            // What is refused may be the repeat of a batch that was accepted.
            (needs.rows, needs.batches) = (places, batches);
            (outcome, before) = self.decide(conn, work.to_vec(), &read, &needs).await?;
        }
        if outcome.effects.is_empty() {
            // Repeats, conflicts and rows that are there: nothing to synchronise.
            rollback(conn).await?;
            return Ok(Outcome {
                answers: outcome.answers,
                changed: false,
                seq: None,
            });
        }
        effects::store(conn, fixed, self.tables, &outcome.effects, &before).await?;
        if stands.tracking {
            note(conn, fixed, work).await?;
        }
        let seq = outcome.effects.seq;
        self.committing = true;
        match self.writes {
            Writes::Commits if seq > stands.seq => {
                let commit = fixed.commit_at(&outcome.effects.heads, signed(seq));
                commit.run(conn).await?;
            }
            Writes::Commits | Writes::Ingests => commit(conn).await?,
        }
        Ok(Outcome {
            answers: outcome.answers,
            changed: true,
            seq: (self.writes == Writes::Commits).then_some(seq),
        })
    }

    async fn decide(
        &self,
        conn: &mut PgConnection,
        work: Vec<Work>,
        read: &Read,
        needs: &Needs,
    ) -> Result<(group::Outcome, Known), Failure> {
        let mut loaded = facts::load(conn, &self.server.fixed, self.tables, needs).await?;
        loaded.facts.seq = read.seq;
        loaded.facts.heads.clone_from(&read.heads);
        loaded.facts.documents.clone_from(&read.found.revs);
        loaded.known.sums.clone_from(&read.found.sums);
        Ok((group::decide(&self.tables.schema, loaded.facts, work), loaded.known))
    }
}

/// What beginning a group told.
struct Read {
    seq: Seq,
    heads: HashMap<Name, Link>,
    found: Found,
}

fn is_refusal(answer: &Answer) -> bool {
    matches!(answer, Answer::Batch(Err(_)) | Answer::Ingest(Err(_)))
}

fn read_heads(schema: &Schema, rows: &[PgRow]) -> Result<HashMap<Name, Link>, Failure> {
    let mut heads = HashMap::new();
    for row in rows {
        let lane: String = row.try_get(0)?;
        let link = Link {
            number: read_uint(row, 1)?,
            hash: read_array(row, 2)?,
        };
        if let Ok(lane) = schema.lane(&lane) {
            heads.insert(lane.name, link);
        }
    }
    Ok(heads)
}

/// Takes notes of a group for a move, in the group's own transaction. The lock of commit order puts notes in the order in which
/// they can be seen.
async fn note(conn: &mut PgConnection, fixed: &Fixed, work: &[Work]) -> Result<(), Failure> {
    let row = fixed.lock_notes.query().fetch_one(&mut *conn).await?;
    let mut last: i64 = row.try_get(1)?;
    let (mut numbers, mut types, mut names, mut ids) = (vec![], vec![], vec![], vec![]);
    let (mut ats, mut ns) = (vec![], vec![]);
    for key in work.iter().flat_map(Work::record_keys) {
        last += 1;
        numbers.push(last);
        names.push(key.name());
        let (r#type, id, at, n) = match key {
            RecordKey::Doc(key) => (0_i64, key.id, 0, 0),
            RecordKey::Latest(key) => (1, key.id, 0, 0),
            RecordKey::Row(place) => (2, place.stream, place.at, i64::from(place.n)),
        };
        types.push(r#type);
        ids.push(id);
        ats.push(at);
        ns.push(n);
    }
    let add = fixed.add_notes.query().bind(numbers).bind(types).bind(names).bind(ids);
    add.bind(ats).bind(ns).execute(&mut *conn).await?;
    let most = i64::try_from(Tracking::MOST).unwrap_or(i64::MAX);
    fixed.forget_notes.query().bind(last - most).execute(&mut *conn).await?;
    fixed.set_noted.query().bind(last).execute(conn).await?;
    Ok(())
}

/// Commits.
pub(crate) async fn commit(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    literal(conn, "COMMIT").await
}

/// Takes back.
pub(crate) async fn rollback(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    literal(conn, "ROLLBACK").await
}
