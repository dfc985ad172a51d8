//! The writer: one thread that owns the state and decides, and one that writes what was decided.
//!
//! ```text
//!   callers ──▶ queue ──▶ decide ──▶ a group: lines, state, answers ──▶ flush ──▶ disk, readers, callers
//!                            ▲                                             │
//!                            └───────── the journal, and how it went ◀─────┘
//! ```
//!
//! The first takes everything that waits, decides in order against memory, and adds one line for each thing accepted. The second
//! writes the lines with one write, synchronises once, shows the new state to readers, and only then answers. Meanwhile the next
//! group is decided, upon a state that is not on the disk yet: that group goes only when the one before it is there. If it is
//! not, the state is again what readers see, and nothing of the group that was decided upon it is written.

mod answer;
mod checkpoints;
mod decide;
mod flush;
mod footprint;
mod found;
mod prepare;
mod queue;
mod ready;
mod replay;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use fleet_core::{
    kernel::Clock,
    store::{Committed, Error, Move, Name, RecordKey, Result, Schema, SchemaReport, Seq, Tracking, memory::State},
};
use tokio::sync::oneshot;
use uuid::Uuid;

use answer::Answer;
use flush::{Flush, Flushed, Flusher};
pub(crate) use flush::{Heralds, heralds};
pub(crate) use found::{standing, standing_after};
pub(crate) use queue::Queue;
use queue::{Patience, Taken};
pub(crate) use ready::{ReadyCommit, ReadyIngest, ReadyPatch};

use crate::{
    catalogue::Catalogue,
    journal::{Journal, Lines, Scanned},
    manifest::Manifest,
    options::JsonOptions,
    place::Place,
    records::Operation,
    snapshot::Dirty,
    store::Shared,
};
use checkpoints::Running;

/// Bytes of lines from which on a group is closed.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// While a group is written, the next is decided in pieces of this weight: what comes one by one would wake this thread each time.
const PIECE: usize = 64;

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// What the writer is asked for.
pub(crate) enum Request {
    /// To write.
    Write(Ask),
    /// To load the store, or to take over another schema.
    Prepare(Schema, Reply<SchemaReport>),
    /// To say what taking over a schema would change.
    Pending(Schema, Reply<SchemaReport>),
    /// Answers bytes by name.
    Footprint(Reply<HashMap<String, u64>>),
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
    Commit(ReadyCommit, Reply<Committed>),
    Ingest(ReadyIngest, Reply<()>),
    /// Removes a slice; answers how many rows, and whether there may be more.
    Trim(Name, i64, Reply<(u64, bool)>),
    Compact(Seq, Reply<u64>),
    Lease(String, Uuid, Duration, Reply<Option<u64>>),
    Freeze(Move, Reply<Seq>),
    Fill(Move, Reply<()>),
    Patch(ReadyPatch, Reply<()>),
    Serve(Reply<()>),
    Clear(Reply<()>),
}

impl Request {
    /// Latest values and rows of an ingest; anything else counts as one.
    fn weight(&self) -> usize {
        match self {
            Self::Write(Ask::Ingest(ready, _)) => ready.ingest.latest.len() + ready.ingest.rows.len(),
            _ => 1,
        }
    }

    /// Whether it waits for no company.
    fn is_pressing(&self) -> bool {
        !matches!(self, Self::Write(Ask::Ingest(..)))
    }
}

/// A group that is being decided.
#[derive(Default)]
struct Group {
    lines: Lines,
    dirty: Dirty,
    answers: Vec<Answer>,
    /// Latest values and rows of ingests.
    items: usize,
    /// Whether anything is among it that does not linger.
    urgent: bool,
    /// Until when it lingers.
    deadline: Option<Instant>,
    /// Whether those who follow the feed have to look.
    told: bool,
    /// What may have changed, while a move is under way.
    keys: Vec<RecordKey>,
    failed: Option<Error>,
}

/// What is known of a group that is being written.
struct Written {
    dirty: Dirty,
    bytes: u64,
}

/// The owner of the state.
pub(crate) struct Writer {
    place: Place,
    options: JsonOptions,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    flusher: Flusher,
    /// What is stored, for all that this process knows.
    manifest: Manifest,
    /// The journal as it was found; none once it is loaded, or could not be gone on with.
    scanned: Option<Scanned>,
    /// Whether the store was loaded.
    prepared: bool,
    /// None before it is loaded, and while a group is being written.
    journal: Option<Journal>,
    /// The number of the line that follows all that was decided.
    line: u64,
    /// As everything that was decided has left it. Readers see what is on the disk.
    state: State,
    /// The parts of `state` that no snapshot has, but for those of the groups under way.
    dirty: Dirty,
    open: Option<Group>,
    written: Option<Written>,
    /// Whether what is written is noted.
    tracks: bool,
    /// A buffer to be used again.
    spare: Lines,
    /// What was taken from the queue.
    ready: VecDeque<Request>,
    /// Bytes of journal that no snapshot has.
    behind: u64,
    /// No checkpoint is begun before.
    not_before: Instant,
    /// When the next checkpoint is due if anything was written.
    due: Instant,
    running: Option<Running>,
    /// The number of the last attempt at a checkpoint.
    attempt: u64,
    /// Whether this process has written anything.
    wrote: bool,
    /// Groups can no longer be written.
    broken: bool,
}

impl Writer {
    pub(crate) fn new(
        place: Place,
        options: JsonOptions,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
        (manifest, scanned): (Manifest, Scanned),
        heralds: Heralds,
    ) -> std::io::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            place,
            clock,
            flusher: Flusher::start(Arc::clone(&shared), heralds)?,
            shared,
            attempt: manifest.checkpoint,
            manifest,
            scanned: Some(scanned),
            prepared: false,
            journal: None,
            line: 0,
            state: State::default(),
            dirty: Dirty::default(),
            open: None,
            written: None,
            tracks: false,
            spare: Lines::default(),
            ready: VecDeque::new(),
            behind: 0,
            not_before: now,
            due: now + options.checkpoint_every,
            running: None,
            wrote: false,
            broken: false,
            options,
        })
    }

    /// Works until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // Whatever happens, nobody is left waiting.
        let _guard = Abandon(&shared);
        let mut closing = Vec::new();
        while !self.broken {
            while !self.is_full()
                && let Some(request) = self.ready.pop_front()
            {
                match request {
                    Request::Write(ask) => self.decide(ask),
                    other => {
                        // It comes after all that came before it.
                        self.settle();
                        self.attend(other, &mut closing);
                    }
                }
            }
            if self.written.is_none() && self.is_due() {
                self.depart();
            }
            let patience = self.patience();
            match shared.queue.take(&mut self.ready, patience) {
                Taken::Some => {}
                Taken::Flushed(flushed) => self.land(*flushed),
                Taken::Late if self.open.is_none() => self.begin_checkpoint(Vec::new()),
                Taken::Late => {}
                Taken::Closed if self.open.is_none() && self.written.is_none() => break,
                Taken::Closed => self.settle(),
                Taken::Broken => break,
            }
            if self.behind >= self.most_behind() && Instant::now() >= self.not_before {
                self.settle();
                self.begin_checkpoint(Vec::new());
            }
        }
        self.cancel_checkpoint();
        self.seal();
        shared.finished();
        self.place.release();
        for reply in closing {
            let _ = reply.send(Ok(()));
        }
    }

    /// Does what is no write, when everything before it is on the disk.
    fn attend(&mut self, request: Request, closing: &mut Vec<Reply<()>>) {
        match request {
            Request::Write(ask) => self.decide(ask),
            Request::Prepare(schema, reply) => drop(reply.send(self.prepare(&schema))),
            Request::Pending(schema, reply) => {
                drop(reply.send(self.manifest.catalogue.prepare(&Catalogue::of(&schema))));
            }
            Request::Footprint(reply) => drop(reply.send(Ok(self.footprint()))),
            Request::Track(on, reply) => {
                // In its turn: what is written from now on is noted.
                *self.shared.tracking() = on.then(Tracking::default);
                self.tracks = on;
                let _ = reply.send(Ok(()));
            }
            Request::Checkpoint(reply) => self.asked_for_checkpoint(reply),
            Request::Checkpointed(number) => self.end_checkpoint(number),
            Request::Close(reply) => {
                self.shared.queue.close();
                closing.push(reply);
            }
        }
    }

    fn open_group(&mut self) -> Group {
        let mut lines = std::mem::take(&mut self.spare);
        lines.begin(self.line);
        Group {
            lines,
            urgent: self.options.linger.is_zero(),
            deadline: Some(Instant::now() + self.options.linger),
            ..Group::default()
        }
    }

    fn is_full(&self) -> bool {
        let full = |group: &Group| group.answers.len() >= self.options.group || group.lines.bytes() >= GROUP_BYTES;
        self.open.as_ref().is_some_and(full)
    }

    /// Whether the group that was decided waits no longer for company.
    fn is_due(&self) -> bool {
        self.open.as_ref().is_some_and(|group| {
            group.urgent
                || group.items >= self.options.linger_items
                || group.deadline.is_none_or(|deadline| deadline <= Instant::now())
                || self.is_full()
        })
    }

    /// What is worth looking at.
    fn patience(&self) -> Patience {
        match &self.open {
            // The end of the write comes, and nothing goes before.
            _ if self.written.is_some() => Patience {
                until: None,
                enough: if self.is_full() { usize::MAX } else { PIECE },
                pressing: false,
            },
            Some(group) => Patience {
                until: group.deadline,
                enough: self
                    .options
                    .linger_items
                    .saturating_sub(group.items)
                    .clamp(1, 2 * PIECE),
                pressing: true,
            },
            None => Patience {
                until: (self.behind > 0).then_some(self.due),
                enough: 1,
                pressing: true,
            },
        }
    }

    /// Lets the group that was decided be written. The one before it is on the disk.
    fn depart(&mut self) {
        let Some(group) = self.open.take() else { return };
        let Some(journal) = self.journal.take() else {
            // Not prepared: there is nothing to write.
            group.answers.into_iter().for_each(|answer| answer.send(None));
            return;
        };
        self.line = group.lines.next();
        self.written = Some(Written {
            dirty: group.dirty,
            bytes: group.lines.bytes() as u64,
        });
        let flush = Flush {
            journal,
            lines: group.lines,
            state: self.state.clone(),
            answers: group.answers,
            told: group.told,
            keys: group.keys,
            failed: group.failed,
        };
        // Whoever waits for a group that is given back learns that the writer has ended.
        self.broken |= self.flusher.write(flush).is_err();
    }

    /// Takes note of how a write ended.
    fn land(&mut self, flushed: Flushed) {
        let Flushed { journal, lines, result } = flushed;
        let line = journal.next();
        self.journal = Some(journal);
        let written = self.written.take();
        self.spare = lines;
        match (result, written) {
            (Ok(()), Some(written)) => {
                self.behind += written.bytes;
                self.wrote |= written.bytes > 0;
                self.dirty.merge(written.dirty);
            }
            (Ok(()), None) => {}
            (Err(_), _) => {
                // What was decided since was decided upon what is not there.
                self.line = line;
                if let Ok(durable) = self.shared.state() {
                    self.state = durable;
                }
                if let Some(group) = self.open.take() {
                    let error = Error::Unavailable("what came before it could not be written".into());
                    group.answers.into_iter().for_each(|answer| answer.send(Some(&error)));
                }
            }
        }
    }

    /// Waits until everything that was decided is on the disk, or has failed.
    fn settle(&mut self) {
        while !self.broken && (self.open.is_some() || self.written.is_some()) {
            if self.written.is_none() {
                self.depart();
                continue;
            }
            let patience = Patience {
                until: None,
                enough: usize::MAX,
                pressing: false,
            };
            match self.shared.queue.take(&mut self.ready, patience) {
                Taken::Flushed(flushed) => self.land(*flushed),
                Taken::Broken => self.broken = true,
                Taken::Some | Taken::Late | Taken::Closed => {}
            }
        }
    }

    /// Ends the journal with a line that says that all before it is on the disk. Without one, as after a crash, damage of the last
    /// line looks like an end that nobody was answered for.
    fn seal(&mut self) {
        let Some(journal) = self.journal.as_mut().filter(|_| self.wrote && self.behind > 0) else {
            return;
        };
        let mut lines = Lines::default();
        lines.begin(journal.next());
        let pushed = lines.push(|out| serde_json::to_writer(out, &Operation::Closed {}));
        let written = pushed.map_err(|error| error.to_string());
        if let Err(problem) = written.and_then(|()| journal.write(&lines).map_err(|error| error.to_string())) {
            tracing::debug!(problem, "the journal ends without a line that says so");
        }
    }

    /// How much journal leads to a checkpoint: as much as the snapshot has, so that what is rewritten stays in proportion to what
    /// was written, and a start reads at most twice as much as there is.
    fn most_behind(&self) -> u64 {
        let stored = self.manifest.files.iter().map(|listed| listed.bytes).sum();
        self.options.checkpoint_bytes.max(stored)
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
