//! The thread that writes: it takes one group after the other, puts its lines on the disk, shows the state to readers, and
//! answers. Meanwhile the writer decides the next group.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use fleet_core::store::{Error, RecordKey, Result, memory::State};
use tokio::sync::mpsc;

use super::answer::Answer;
use crate::{
    journal::{Journal, Lines},
    store::Shared,
};

/// Groups that wait for their answers to be sent; with more of them this thread sends them.
const GROUPS: usize = 16;

/// A group to be written.
pub(super) struct Flush {
    pub(super) journal: Journal,
    pub(super) lines: Lines,
    /// The state with the group, and all before it.
    pub(super) state: State,
    pub(super) answers: Vec<Answer>,
    /// Whether those who follow the feed have to look.
    pub(super) told: bool,
    /// What may have changed, while a move is under way.
    pub(super) keys: Vec<RecordKey>,
    /// Why it is not to be written.
    pub(super) failed: Option<Error>,
}

/// A group that was written, or was not.
pub(super) struct Flushed {
    pub(super) journal: Journal,
    pub(super) lines: Lines,
    pub(super) result: Result<()>,
}

/// The other end of the thread.
pub(super) struct Flusher {
    groups: Option<SyncSender<Flush>>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    pub(super) fn start(shared: Arc<Shared>, heralds: Heralds) -> std::io::Result<Self> {
        // One group is written while the next is decided; there is never a second one that waits here.
        let (groups, receiver) = sync_channel(1);
        let thread = std::thread::Builder::new().name("json-journal".to_owned());
        let thread = thread.spawn(move || work(&shared, &heralds, &receiver))?;
        Ok(Self {
            groups: Some(groups),
            thread: Some(thread),
        })
    }

    /// Hands a group over; gives it back when the thread is gone.
    pub(super) fn write(&self, flush: Flush) -> Result<(), Box<Flush>> {
        match &self.groups {
            Some(groups) => groups.send(flush).map_err(|unsent| Box::new(unsent.0)),
            None => Err(Box::new(flush)),
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        drop(self.groups.take());
        if let Some(thread) = self.thread.take() {
            // What it panicked with was said already.
            let _ = thread.join();
        }
    }
}

/// Sends the answers of a group from within the runtime that opened the store: waking a task is cheap there, and from another
/// thread it is not.
pub(crate) type Heralds = Option<mpsc::Sender<(Vec<Answer>, Option<Error>)>>;

/// Starts the task that sends answers. Only where the runtime has threads of its own: another may not run when it is needed.
pub(crate) fn heralds() -> Heralds {
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    if runtime.runtime_flavor() != tokio::runtime::RuntimeFlavor::MultiThread {
        return None;
    }
    let (groups, mut receiver) = mpsc::channel::<(Vec<Answer>, Option<Error>)>(GROUPS);
    drop(runtime.spawn(async move {
        while let Some((answers, failed)) = receiver.recv().await {
            send(answers, failed.as_ref());
        }
    }));
    Some(groups)
}

fn send(answers: Vec<Answer>, failed: Option<&Error>) {
    for answer in answers {
        answer.send(failed);
    }
}

fn work(shared: &Shared, heralds: &Heralds, groups: &Receiver<Flush>) {
    let _guard = Broken(shared);
    while let Ok(group) = groups.recv() {
        let Flush {
            mut journal,
            lines,
            state,
            answers,
            told,
            keys,
            failed,
        } = group;
        let result = match failed {
            Some(error) => Err(error),
            // Only refused, or repeated: what it was judged by is on the disk.
            None if lines.is_empty() => Ok(()),
            None => journal.write(&lines),
        };
        if result.is_ok() && !lines.is_empty() {
            shared.publish(state, told);
            shared.count(answers.len() as u64);
        }
        let noted = result.as_ref().err().is_none_or(|error| !error.certainly_not_written());
        // Only now can it be seen; of a write whose outcome is unknown it may be.
        if noted
            && !keys.is_empty()
            && let Some(tracking) = shared.tracking().as_mut()
        {
            tracking.note(keys);
        }
        let failed = result.as_ref().err().map(crate::error::again);
        // The writer goes on at once; those who wait for the group wait no longer for it.
        let unsent = match heralds {
            Some(heralds) => heralds
                .try_send((answers, failed))
                .err()
                .map(mpsc::error::TrySendError::into_inner),
            None => Some((answers, failed)),
        };
        if let Some((answers, failed)) = unsent {
            send(answers, failed.as_ref());
        }
        shared.queue.flushed(Flushed { journal, lines, result });
    }
}

/// Tells the writer when the thread ends, however it does.
struct Broken<'s>(&'s Shared);

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        self.0.queue.broken();
    }
}
