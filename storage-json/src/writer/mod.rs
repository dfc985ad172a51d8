//! The writer: one thread that owns the state. It takes everything that waits, decides in order against memory, writes one
//! line for each thing accepted with one write, synchronises once, publishes the new state, and only then answers.

mod checkpoints;
mod decide;
mod prepare;
mod queue;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use fleet_core::{
    kernel::Clock,
    store::{
        Batch, Committed, Error, Ingest, Move, Name, Patch, RecordKey, Result, Schema, SchemaReport, Seq, Tracking,
        memory::State,
    },
};
use tokio::sync::oneshot;
use uuid::Uuid;

pub(crate) use queue::Queue;
use queue::Taken;

use crate::{
    error::again,
    journal::{Journal, Lines, Scanned},
    manifest::Manifest,
    options::JsonOptions,
    place::Place,
    snapshot::Dirty,
    store::Shared,
};
use checkpoints::Running;

/// Bytes of lines from which on a group is closed.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// What the writer is asked for.
pub(crate) enum Request {
    /// To write.
    Write(Ask),
    /// To load the store, or to take over another schema.
    Prepare(Schema, Reply<SchemaReport>),
    /// To begin to note what is written, or to cease to.
    Track(bool, Reply<()>),
    /// To store a snapshot.
    Checkpoint(Reply<()>),
    /// The checkpoint of this number has come to its end.
    Checkpointed(u64),
    /// To finish what was accepted, to close, and to say so.
    Close(Reply<()>),
}

/// Something to write; any number of these share one synchronisation.
pub(crate) enum Ask {
    Commit(Batch, Reply<Committed>),
    Ingest(Ingest, Reply<()>),
    /// Removes a slice; answers how many rows, and whether there may be more.
    Trim(Name, i64, Reply<(u64, bool)>),
    Compact(Seq, Reply<u64>),
    Lease(String, Uuid, Duration, Reply<Option<u64>>),
    Freeze(Move, Reply<Seq>),
    Fill(Move, Reply<()>),
    Patch(Patch, Reply<()>),
    Serve(Reply<()>),
    Clear(Reply<()>),
}

/// Answers; with an error, if the group could not be written.
type Settle = Box<dyn FnOnce(Option<&Error>) + Send>;

fn settle<T: Send + 'static>(reply: Reply<T>, answer: Result<T>) -> Settle {
    Box::new(move |failed| {
        // Nobody may be waiting any more; the work is done all the same.
        let _ = reply.send(match failed {
            Some(error) => Err(again(error)),
            None => answer,
        });
    })
}

/// A group under way.
struct Group {
    /// The state as it will be.
    next: State,
    dirty: Dirty,
    answers: Vec<Settle>,
    /// Latest values and rows of ingests.
    items: usize,
    /// Whether anything is among it that does not linger.
    urgent: bool,
    /// Whether those who follow the feed have to look.
    told: bool,
    /// What may have changed, while a move is under way.
    keys: Vec<RecordKey>,
    failed: Option<Error>,
}

impl Group {
    fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, answer: Result<T>) {
        self.answers.push(settle(reply, answer));
    }
}

/// The owner of the state.
pub(crate) struct Writer {
    place: Place,
    options: JsonOptions,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    /// What is stored, for all that this process knows.
    manifest: Manifest,
    /// The journal as it was found; none once it is loaded, or could not be gone on with.
    scanned: Option<Scanned>,
    /// None until the store is prepared.
    journal: Option<Journal>,
    state: State,
    /// What differs from the stored snapshot.
    dirty: Dirty,
    lines: Lines,
    /// What was taken from the queue and waits for its turn.
    ready: VecDeque<Request>,
    /// Bytes of journal since the last checkpoint.
    behind: u64,
    /// When the next checkpoint may be made, and when it is due if anything was written.
    not_before: Instant,
    due: Instant,
    /// The number of the last attempt at a checkpoint.
    attempt: u64,
    running: Option<Running>,
}

impl Writer {
    pub(crate) fn new(
        place: Place,
        options: JsonOptions,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
        manifest: Manifest,
        scanned: Scanned,
    ) -> Self {
        let now = Instant::now();
        Self {
            place,
            clock,
            shared,
            attempt: manifest.checkpoint,
            manifest,
            scanned: Some(scanned),
            journal: None,
            state: State::default(),
            dirty: Dirty::default(),
            lines: Lines::default(),
            ready: VecDeque::new(),
            behind: 0,
            not_before: now,
            due: now + options.checkpoint_every,
            running: None,
            options,
        }
    }

    /// Works until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // Whatever happens, nobody is left waiting.
        let _guard = Abandon(&shared);
        let mut closing = Vec::new();
        loop {
            let Some(request) = self.ready.pop_front() else {
                match shared
                    .queue
                    .take(&mut self.ready, (self.behind > 0).then_some(self.due))
                {
                    Taken::Some => {}
                    Taken::Late => self.begin_checkpoint(Vec::new()),
                    Taken::Closed => break,
                }
                continue;
            };
            match request {
                Request::Write(ask) => self.write_group(ask),
                Request::Prepare(schema, reply) => drop(reply.send(self.prepare(&schema))),
                Request::Track(on, reply) => {
                    // In its turn: what is written from now on is noted.
                    *shared.tracking() = on.then(Tracking::default);
                    let _ = reply.send(Ok(()));
                }
                Request::Checkpoint(reply) => self.asked_for_checkpoint(reply),
                Request::Checkpointed(number) => self.end_checkpoint(number),
                Request::Close(reply) => {
                    shared.queue.close();
                    closing.push(reply);
                }
            }
            if self.behind >= self.options.checkpoint_bytes && Instant::now() >= self.not_before {
                self.begin_checkpoint(Vec::new());
            }
        }
        self.cancel_checkpoint();
        shared.finished();
        self.place.release();
        for reply in closing {
            let _ = reply.send(Ok(()));
        }
    }

    /// Takes what waits and writes it.
    fn write_group(&mut self, first: Ask) {
        let begun = Instant::now();
        let deadline = begun + self.options.linger;
        let mut group = Group {
            next: self.state.clone(),
            dirty: Dirty::default(),
            answers: Vec::new(),
            items: 0,
            urgent: self.options.linger.is_zero(),
            told: false,
            keys: Vec::new(),
            failed: self.journal.is_none().then(not_prepared),
        };
        self.lines.clear();
        self.decide(&mut group, first);
        while group.answers.len() < self.options.group && self.lines.bytes() < GROUP_BYTES {
            match self.ready.pop_front() {
                Some(Request::Write(ask)) => self.decide(&mut group, ask),
                Some(other) => {
                    // It has to come after the group.
                    self.ready.push_front(other);
                    break;
                }
                None => {
                    let lingers = !group.urgent && group.items < self.options.linger_items;
                    let until = if lingers { deadline } else { begun };
                    if !matches!(self.shared.queue.take(&mut self.ready, Some(until)), Taken::Some) {
                        break;
                    }
                }
            }
        }
        self.store_group(group);
    }

    fn store_group(&mut self, group: Group) {
        let works = group.answers.len() as u64;
        let mut failed = group.failed;
        let mut noted = true;
        if let (None, Some(journal), false) = (&failed, &mut self.journal, self.lines.is_empty()) {
            match journal.write(&self.lines) {
                Err(error) => {
                    noted = !error.certainly_not_written();
                    failed = Some(error);
                }
                Ok(()) => {
                    self.behind += self.lines.bytes() as u64;
                    self.state = group.next;
                    self.dirty.merge(group.dirty);
                    self.shared.publish(&self.state, group.told);
                    self.shared.count(works);
                }
            }
        }
        // Only now can it be seen; of a write whose outcome is unknown it may be.
        if noted && let Some(tracking) = self.shared.tracking().as_mut() {
            tracking.note(group.keys);
        }
        for answer in group.answers {
            answer(failed.as_ref());
        }
    }
}

fn not_prepared() -> Error {
    Error::Refused("the store is not prepared yet".to_owned())
}

/// Answers all who wait when the writer ends, however it ends.
struct Abandon<'s>(&'s Shared);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.finished();
        self.0.queue.abandon();
    }
}
