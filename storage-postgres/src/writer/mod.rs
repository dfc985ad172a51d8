//! The writers: two tasks with a connection each, one for commits and one for ingests.
//!
//! A writer takes all that waits, stores it in one transaction and answers after the COMMIT. A commit never waits for company; an
//! ingest may, for a moment. What fails because others were in the way is decided anew; what a single value makes impossible
//! is written piece by piece, so that it fails alone.

mod bundle;
mod copies;
mod effects;
mod facts;
mod group;

use std::{sync::Arc, time::Duration};

use fleet_core::store::{
    Error, Result,
    group::{Answer, Work},
};
use sqlx::{Connection as _, postgres::PgConnection};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout, timeout_at},
};

use self::group::Group;
pub(crate) use self::{
    bundle::Bundle,
    copies::Copies,
    effects::{Known, Sides, replace_documents, replace_rows, store_deletes, store_latest, sum_of},
    facts::{load_documents, load_holders},
    group::{Failure, Stands, commit, read_standing, rollback},
};
use crate::{
    error::{Class, again, class, from_engine, is_certain, unknown},
    options::PostgresOptions,
    server::Server,
    store::Shared,
};

/// Bodies of one transaction, in bytes; a group is closed once it holds that much.
const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// Turns that others have between two groups; no time is waited.
const LOOKS: usize = 64;

/// How often a group is decided anew before it fails.
const ATTEMPTS: u32 = 8;

/// What a writer is asked for.
pub(crate) enum Request {
    /// To write this and to answer.
    Work(Pending),
    /// To finish what was accepted, to close, and to say so.
    Close(oneshot::Sender<()>),
}

/// Work that waits.
pub(crate) struct Pending {
    pub(crate) work: Work,
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// What a writer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    Commits,
    Ingests,
}

/// A connection that writes.
pub(crate) struct Writer {
    server: Arc<Server>,
    options: PostgresOptions,
    shared: Arc<Shared>,
    writes: Writes,
    conn: Option<PgConnection>,
}

impl Writer {
    pub(crate) fn new(server: Arc<Server>, options: PostgresOptions, shared: Arc<Shared>, writes: Writes) -> Self {
        Self {
            server,
            options,
            shared,
            writes,
            conn: None,
        }
    }

    /// Works until the queue is closed and empty, or nobody is left to fill it.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut closing = Vec::new();
        while let Some(request) = queue.recv().await {
            match request {
                Request::Close(reply) => {
                    queue.close();
                    closing.push(reply);
                }
                Request::Work(first) => {
                    let group = self.gather(&mut queue, first, &mut closing).await;
                    let many = group.len() > 1;
                    self.answer(group).await;
                    if many {
                        let_queue_up(&queue).await;
                    }
                }
            }
        }
        if let Some(conn) = self.conn.take() {
            let _ = conn.close().await;
        }
        for reply in closing {
            let _ = reply.send(());
        }
    }

    /// Takes what waits.
    async fn gather(
        &self,
        queue: &mut mpsc::Receiver<Request>,
        first: Pending,
        closing: &mut Vec<oneshot::Sender<()>>,
    ) -> Vec<Pending> {
        let deadline = Instant::now() + self.options.linger;
        let mut size = Size::default();
        size.add(&first.work);
        let mut group = vec![first];
        let mut lingers = self.writes == Writes::Ingests && !self.options.linger.is_zero();
        while group.len() < self.options.group && size.bytes < GROUP_BYTES {
            lingers = lingers && size.items < self.options.linger_items;
            let request = match queue.try_recv() {
                Ok(request) => request,
                Err(_) if lingers => match timeout_at(deadline, queue.recv()).await {
                    Ok(Some(request)) => request,
                    Ok(None) | Err(_) => break,
                },
                Err(_) => break,
            };
            match request {
                Request::Work(pending) => {
                    size.add(&pending.work);
                    group.push(pending);
                }
                Request::Close(reply) => {
                    queue.close();
                    closing.push(reply);
                    lingers = false;
                }
            }
        }
        group
    }

    async fn answer(&mut self, group: Vec<Pending>) {
        let (work, replies): (Vec<Work>, Vec<_>) =
            group.into_iter().map(|Pending { work, reply }| (work, reply)).unzip();
        let answers = match self.write(&work).await {
            Err(Error::Invalid(_)) if work.len() > 1 => {
                // One of them holds what the engine cannot: each stands for itself.
                let mut answers = Vec::with_capacity(work.len());
                for work in work.chunks(1) {
                    let answer = self.write(work).await;
                    answers.extend(answer.unwrap_or_else(|error| self.refusals(&error, 1)));
                }
                answers
            }
            Ok(answers) => answers,
            Err(error) => self.refusals(&error, work.len()),
        };
        for (reply, answer) in replies.into_iter().zip(answers) {
            // Nobody may be waiting any more; the work is done all the same.
            let _ = reply.send(answer);
        }
    }

    fn refusals(&self, error: &Error, count: usize) -> Vec<Answer> {
        let refusal = || match self.writes {
            Writes::Commits => Answer::Batch(Err(again(error))),
            Writes::Ingests => Answer::Ingest(Err(again(error))),
        };
        (0..count).map(|_| refusal()).collect()
    }

    /// Writes a group, several times if others are in the way.
    async fn write(&mut self, work: &[Work]) -> Result<Vec<Answer>> {
        // Rows and batches are taken to be new at first; where one is not, the next attempt looks.
        let mut looks = false;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let reused = self.conn.is_some();
            let error = match self.attempt(work, looks).await {
                Ok(answers) => return Ok(answers),
                Err(Failure::Store(error)) => return Err(error),
                Err(Failure::Engine(error)) => error,
            };
            let retry = match class(&error) {
                Class::Taken => {
                    looks = true;
                    true
                }
                Class::Again => true,
                // A connection that waited may have ended meanwhile: nothing was written on it.
                Class::Lost => reused && attempt == 1,
                Class::Data | Class::Other => false,
            };
            if !retry || attempt >= ATTEMPTS {
                return Err(from_engine(error));
            }
            tracing::debug!(%error, attempt, "a group is decided anew");
            if attempt > 2 {
                // Whoever is in the way is given time.
                sleep(Duration::from_millis(u64::from(attempt * attempt))).await;
            }
        }
    }

    async fn attempt(&mut self, work: &[Work], looks: bool) -> Result<Vec<Answer>, Failure> {
        let tables = self.shared.tables()?;
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.server.connect().await?,
        };
        let mut group = Group {
            server: &self.server,
            tables: &tables,
            writes: self.writes,
            committing: false,
        };
        // The engine ends what takes too long; this ends the wait for an engine that says nothing at all.
        let patience = self.options.statement_limit * 3 + Duration::from_secs(10);
        let ended = timeout(patience, group.write(&mut conn, work, looks)).await;
        match ended {
            Ok(Ok(outcome)) => {
                self.conn = Some(conn);
                if outcome.changed {
                    self.shared.count(work.len() as u64);
                }
                if let Some(seq) = outcome.seq {
                    self.shared.committed(seq);
                }
                Ok(outcome.answers)
            }
            Ok(Err(Failure::Engine(error))) if group.committing && !is_certain(&error) => {
                Err(Failure::Store(unknown(error)))
            }
            Ok(Err(failure)) => {
                let alive = match &failure {
                    Failure::Engine(error) => class(error) != Class::Lost,
                    Failure::Store(_) => true,
                };
                if alive && rollback(&mut conn).await.is_ok() {
                    self.conn = Some(conn);
                }
                Err(failure)
            }
            Err(_) if group.committing => Err(Failure::Store(unknown("the database does not answer"))),
            Err(_) => Err(Failure::Store(Error::Unavailable(
                "the database does not answer".into(),
            ))),
        }
    }
}

/// Those who were answered may have more to write: lets them run, as long as they queue up, before the next look. Otherwise most of
/// them would miss it, and a small group and a large one take turns, with a synchronisation each.
async fn let_queue_up(queue: &mpsc::Receiver<Request>) {
    for _ in 0..LOOKS {
        let before = queue.len();
        tokio::task::yield_now().await;
        if queue.len() == before {
            return;
        }
    }
}

/// How much a group holds.
#[derive(Default)]
struct Size {
    items: usize,
    bytes: usize,
}

impl Size {
    fn add(&mut self, work: &Work) {
        use fleet_core::store::Write;
        let rows = match work {
            Work::Batch(batch) => {
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
