//! The writer: one task that owns the one connection that writes.
//!
//! It takes all that waits, stores it in one transaction and answers after the COMMIT. A commit never waits for company; an
//! ingest may, for a moment, and is taken along by the next commit.

mod bulk;
mod effects;
mod facts;
mod sums;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use fleet_core::store::{
    Error, Link, Name, RecordKey, Result, Seq,
    group::{self, Answer, Needs, Outcome, Work},
};
use futures::future::BoxFuture;
use sqlx::{Connection as _, Row as _, sqlite::SqliteConnection};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

pub(crate) use self::{
    bulk::inserts,
    effects::{store_deletes, store_documents, store_latest, store_patched_rows},
    facts::{load, load_holders},
    sums::{Changed, Sums},
};
use crate::{
    error::{again, from_engine},
    file::Place,
    options::{SqliteOptions, Synchronous},
    sql::literal,
    store::Shared,
    tables::Tables,
    upkeep::Checkpoints,
};

/// Bodies of one transaction, in bytes; a group is closed once it holds that much.
const GROUP_BYTES: usize = 32 * 1024 * 1024;

/// An error on the way to the COMMIT: nothing was written.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Error);

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self(from_engine(error))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// Something that needs the writer for itself.
pub(crate) type Task = Box<dyn for<'w> FnOnce(&'w mut Writer) -> BoxFuture<'w, ()> + Send>;

/// What the writer is asked for.
pub(crate) enum Request {
    /// To write this and to answer.
    Work(Pending),
    /// To do this alone.
    Task(Task),
    /// To finish what was accepted, to close, and to say so.
    Close(oneshot::Sender<Result<()>>),
}

/// Work that waits.
pub(crate) struct Pending {
    pub(crate) work: Work,
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// The connection that writes, and what it knows by heart.
pub(crate) struct Writer {
    place: Arc<Place>,
    options: SqliteOptions,
    shared: Arc<Shared>,
    conn: SqliteConnection,
    /// Whether the connection is in a state that nobody knows and has to be replaced.
    broken: bool,
    seq: Seq,
    heads: HashMap<Name, Link>,
    /// While the store is filled.
    checkpoints: Option<Checkpoints>,
}

impl Writer {
    pub(crate) fn new(place: Arc<Place>, options: SqliteOptions, shared: Arc<Shared>, conn: SqliteConnection) -> Self {
        Self {
            place,
            options,
            shared,
            conn,
            broken: false,
            seq: 0,
            heads: HashMap::new(),
            checkpoints: None,
        }
    }

    /// From now on checkpoints are made beside this connection.
    pub(crate) fn begin_checkpoints(&mut self) {
        let new = || Checkpoints::new(Arc::clone(&self.place), self.options.clone());
        self.checkpoints.get_or_insert_with(new);
    }

    /// Those that are made beside this connection, if any are.
    pub(crate) fn checkpoints(&mut self) -> Option<&mut Checkpoints> {
        self.checkpoints.as_mut()
    }

    /// Checkpoints are made by this connection again.
    pub(crate) async fn end_checkpoints(&mut self) -> Result<()> {
        match self.checkpoints.take() {
            Some(checkpoints) => checkpoints.end().await,
            None => Ok(()),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// How commits are synchronised.
    pub(crate) fn synchronous(&self) -> Synchronous {
        self.options.synchronous
    }

    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    /// Works until the queue is closed and empty, or nobody is left to fill it.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut held_over = None;
        let mut closing = Vec::new();
        loop {
            let request = match held_over.take() {
                Some(request) => request,
                None => match queue.recv().await {
                    Some(request) => request,
                    None => break,
                },
            };
            match request {
                Request::Task(task) => task(&mut self).await,
                Request::Close(reply) => {
                    queue.close();
                    closing.push(reply);
                }
                Request::Work(first) => {
                    let (group, next) = self.gather(&mut queue, first).await;
                    held_over = next;
                    let many = group.len() > 1;
                    self.write_group(group).await;
                    if many {
                        // Those who were answered may have more to write: let them queue up before the next look.
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        let result = self.finish().await;
        for reply in closing {
            let _ = reply.send(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(again(error)),
            });
        }
    }

    /// Takes what waits; also what held the gathering up and has to come after it.
    async fn gather(&self, queue: &mut mpsc::Receiver<Request>, first: Pending) -> (Vec<Pending>, Option<Request>) {
        let deadline = Instant::now() + self.options.linger;
        let mut size = Size::default();
        size.add(&first.work);
        let mut group = vec![first];
        let mut lingers = !self.options.linger.is_zero();
        loop {
            if group.len() >= self.options.group || size.bytes >= GROUP_BYTES {
                return (group, None);
            }
            lingers = lingers && !size.commits && size.items < self.options.linger_items;
            let request = match queue.try_recv() {
                Ok(request) => request,
                Err(_) if lingers => match timeout_at(deadline, queue.recv()).await {
                    Ok(Some(request)) => request,
                    Ok(None) | Err(_) => return (group, None),
                },
                Err(_) => return (group, None),
            };
            match request {
                Request::Work(pending) => {
                    size.add(&pending.work);
                    group.push(pending);
                }
                other => return (group, Some(other)),
            }
        }
    }

    async fn write_group(&mut self, group: Vec<Pending>) {
        let (work, replies): (Vec<Work>, Vec<_>) = group
            .into_iter()
            .map(|Pending { work, reply }| {
                let commits = matches!(work, Work::Batch(_));
                (work, (commits, reply))
            })
            .unzip();
        let answers = match self.write(work).await {
            Ok(answers) => answers,
            Err(error) => replies
                .iter()
                .map(|(commits, _)| match commits {
                    true => Answer::Batch(Err(again(&error))),
                    false => Answer::Ingest(Err(again(&error))),
                })
                .collect(),
        };
        for ((_, reply), answer) in replies.into_iter().zip(answers) {
            // Nobody may be waiting any more; the work is done all the same.
            let _ = reply.send(answer);
        }
    }

    async fn write(&mut self, work: Vec<Work>) -> Result<Vec<Answer>> {
        self.shared.check_serving()?;
        let tables = self.shared.tables()?;
        let count = work.len() as u64;
        let keys: Vec<RecordKey> = match *self.shared.tracking() {
            Some(_) => work.iter().flat_map(Work::record_keys).collect(),
            None => Vec::new(),
        };
        self.begin().await?;
        let decided = self.decide(&tables, work).await;
        let Ok(Outcome { answers, effects }) = decided else {
            return self.end(decided).await.map(|outcome| outcome.answers);
        };
        if effects.is_empty() {
            // Repeats, conflicts and rows that are there: nothing to synchronise.
            self.rollback().await;
            return Ok(answers);
        }
        let ended = self.end(Ok(())).await;
        // Only now can it be seen; of a commit whose outcome is unknown it may be.
        if let Some(tracking) = self.shared.tracking().as_mut() {
            tracking.note(keys);
        }
        ended?;
        self.heads.extend(effects.heads);
        self.shared.count(count);
        self.stand_at(effects.seq);
        Ok(answers)
    }

    async fn decide(&mut self, tables: &Tables, work: Vec<Work>) -> Result<Outcome, Failure> {
        let needs = Needs::of(&tables.schema, &work)?;
        let mut loaded = facts::load(&mut self.conn, tables, &needs).await?;
        loaded.facts.seq = self.seq;
        loaded.facts.heads.clone_from(&self.heads);
        let outcome = group::decide(&tables.schema, loaded.facts, work);
        effects::store(&mut self.conn, tables, &outcome.effects, &loaded.sums).await?;
        Ok(outcome)
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&mut self) -> Result<()> {
        if self.broken {
            self.conn = self.place.connect_writer(&self.options).await?;
            self.broken = false;
            self.load().await?;
        }
        // A deferred transaction that reads first can fail with a busy snapshot later; this one cannot.
        literal("BEGIN IMMEDIATE")
            .execute(&mut self.conn)
            .await
            .map_err(from_engine)?;
        Ok(())
    }

    /// Commits what went well, takes back what did not.
    pub(crate) async fn end<T>(&mut self, result: Result<T, Failure>) -> Result<T> {
        match result {
            Err(Failure(error)) => {
                self.rollback().await;
                Err(error)
            }
            Ok(value) => match literal("COMMIT").execute(&mut self.conn).await {
                Ok(_) => Ok(value),
                Err(error) => {
                    // It may have reached the disk or not. The next transaction begins on a new connection and reads again
                    // where the store stands.
                    self.rollback().await;
                    self.broken = true;
                    tracing::error!(%error, "a commit failed; its outcome is unknown");
                    Err(Error::Unknown(Box::new(error)))
                }
            },
        }
    }

    /// Takes back what was done since [`Writer::begin`].
    pub(crate) async fn rollback(&mut self) {
        if literal("ROLLBACK").execute(&mut self.conn).await.is_err() {
            self.broken = true;
        }
    }

    pub(crate) fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.conn
    }

    /// Reads where the store stands.
    pub(crate) async fn load(&mut self) -> Result<()> {
        let seq = literal("SELECT value FROM meta WHERE name = 'seq'")
            .fetch_one(&mut self.conn)
            .await
            .and_then(|row| crate::sql::read_uint(&row, 0))
            .map_err(from_engine)?;
        self.heads.clear();
        if let Ok(tables) = self.shared.tables() {
            let rows = literal("SELECT lane, number, hash FROM heads")
                .fetch_all(&mut self.conn)
                .await
                .map_err(from_engine)?;
            for row in rows {
                let lane: String = row.try_get(0).map_err(from_engine)?;
                let link = Link {
                    number: crate::sql::read_uint(&row, 1).map_err(from_engine)?,
                    hash: crate::sql::read_array(&row, 2).map_err(from_engine)?,
                };
                if let Ok(lane) = tables.schema.lane(&lane) {
                    self.heads.insert(lane.name, link);
                }
            }
        }
        let standing = crate::upkeep::load_standing(self)
            .await
            .map_err(|Failure(error)| error)?;
        self.shared.set_standing(standing);
        let put_off = literal("SELECT coalesce((SELECT value FROM meta WHERE name = 'put_off'), 0)");
        let put_off = put_off
            .fetch_one(&mut self.conn)
            .await
            .and_then(|row| row.try_get::<i64, _>(0));
        self.shared
            .put_off
            .store(put_off.map_err(from_engine)? != 0, Ordering::Relaxed);
        self.stand_at(seq);
        Ok(())
    }

    /// Tells those who follow.
    fn stand_at(&mut self, seq: Seq) {
        self.seq = seq;
        self.shared.newest.send_if_modified(|newest| {
            let moved = *newest != seq;
            *newest = seq;
            moved
        });
    }

    async fn finish(mut self) -> Result<()> {
        self.shared.finished();
        let ended = self.end_checkpoints().await;
        let checkpoint = literal("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_all(&mut self.conn)
            .await
            .map(drop);
        let closed = self.conn.close().await;
        self.place.release();
        checkpoint.and(closed).map_err(from_engine).and(ended)
    }
}

/// How much a group holds.
#[derive(Default)]
struct Size {
    commits: bool,
    items: usize,
    bytes: usize,
}

impl Size {
    fn add(&mut self, work: &Work) {
        use fleet_core::store::Write;
        let rows = match work {
            Work::Batch(batch) => {
                self.commits = true;
                self.items += batch.writes.len();
                for write in &batch.writes {
                    if let Write::Put { body, .. } = write {
                        self.bytes += body.len();
                    }
                }
                &batch.rows
            }
            Work::Ingest(ingest) => {
                self.items += ingest.latest.len();
                self.bytes += ingest.latest.iter().map(|latest| latest.body.len()).sum::<usize>();
                &ingest.rows
            }
        };
        self.items += rows.len();
        self.bytes += rows.iter().map(|(_, row)| row.body.len()).sum::<usize>();
    }
}
