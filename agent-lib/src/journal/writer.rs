//! A thread for the journal, so that no task waits on the disk, and several appends share one sync.

use std::{fmt, thread};

use fleet_core::kernel::{Error, Result};
use tokio::sync::{mpsc, oneshot};

use super::{JOURNAL_BROKEN, Journal, Record};

/// How many calls may wait; a caller beyond it waits for its turn to ask.
const QUEUE: usize = 256;
/// How many appends share one sync at most.
const GROUP: usize = 256;

/// What a writer asks for.
enum Command {
    Append(Vec<Record>, oneshot::Sender<Result<()>>),
    Use(Box<dyn FnOnce(&mut Journal) + Send>),
}

/// The journal as the agent's tasks use it. Clones share it; when the last is gone its thread ends.
#[derive(Clone)]
pub struct JournalWriter {
    commands: mpsc::Sender<Command>,
}

impl fmt::Debug for JournalWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalWriter").finish_non_exhaustive()
    }
}

impl JournalWriter {
    /// Gives the journal its thread. The handle, joined after the last writer is dropped, gives the journal back.
    ///
    /// # Errors
    /// [`JOURNAL_BROKEN`] when the system gives no thread.
    pub fn start(journal: Journal) -> Result<(Self, thread::JoinHandle<Journal>)> {
        let (writer, keeper) = Self::new(journal);
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || keeper.keep_here())
            .map_err(|error| {
                JOURNAL_BROKEN
                    .error("the journal's thread cannot be started")
                    .caused_by(error)
            })?;
        Ok((writer, thread))
    }

    /// The same, where the caller decides what serves the journal.
    pub fn new(journal: Journal) -> (Self, JournalKeeper) {
        let (commands, queue) = mpsc::channel(QUEUE);
        (Self { commands }, JournalKeeper { journal, queue })
    }

    /// Appends records, all or none; answers once they are synced. Appends of several tasks share a sync, and appends of
    /// one task keep their order. When the future is dropped, the records may still be written.
    ///
    /// # Errors
    /// As [`Journal::append_groups`].
    pub async fn append(&self, records: Vec<Record>) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Append(records, answer)).await?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Does something with the journal on its thread, after all appends that were asked for before.
    ///
    /// # Errors
    /// [`JOURNAL_BROKEN`] when the thread is gone.
    pub async fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut Journal) -> T + Send + 'static) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let work = move |journal: &mut Journal| {
            // Nobody may be waiting any more.
            let _ = answer.send(work(journal));
        };
        self.send(Command::Use(Box::new(work))).await?;
        answered.await.map_err(|_| gone())
    }

    async fn send(&self, command: Command) -> Result<()> {
        self.commands.send(command).await.map_err(|_| gone())
    }
}

fn gone() -> Error {
    JOURNAL_BROKEN.error("the journal's thread has ended")
}

/// Has the journal, and serves its writers until the last one is gone.
#[derive(Debug)]
pub struct JournalKeeper {
    journal: Journal,
    queue: mpsc::Receiver<Command>,
}

impl JournalKeeper {
    /// Serves on this thread, which waits for the disk.
    fn keep_here(mut self) -> Journal {
        while let Some(command) = self.queue.blocking_recv() {
            self.serve(command);
        }
        self.journal
    }

    /// Serves in this task, for a disk that nobody has to wait for.
    pub async fn keep(mut self) -> Journal {
        while let Some(command) = self.queue.recv().await {
            self.serve(command);
        }
        self.journal
    }

    fn serve(&mut self, mut command: Command) {
        let mut group = Vec::new();
        // Appends are gathered until something else comes, or nothing.
        let other = loop {
            match command {
                Command::Append(records, answer) => group.push((records, answer)),
                Command::Use(work) => break Some(work),
            }
            match self.queue.try_recv() {
                Ok(next) if group.len() < GROUP => command = next,
                Ok(Command::Use(work)) => break Some(work),
                Ok(Command::Append(records, answer)) => {
                    group.push((records, answer));
                    break None;
                }
                Err(_) => break None,
            }
        };
        if !group.is_empty() {
            let records: Vec<&[Record]> = group.iter().map(|(records, _)| records.as_slice()).collect();
            let answers = self.journal.append_groups(&records);
            for ((_, waiting), answer) in group.into_iter().zip(answers) {
                let _ = waiting.send(answer);
            }
        }
        if let Some(work) = other {
            work(&mut self.journal);
        }
    }
}
