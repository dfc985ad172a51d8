//! When and how the writer has checkpoints made: on a thread of their own, from a copy of the state, while writing goes on
//! in a new segment of the journal.

use std::{
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use fleet_core::store::{Error, Result, memory::State};

use super::{Reply, Request, Writer, not_prepared};
use crate::{
    error::again,
    manifest::{Manifest, Switch},
    snapshot::{Cancel, Checkpoint, Dirty},
};

/// How long after a failed checkpoint the next one is tried.
const PAUSE: Duration = Duration::from_secs(10);

/// A checkpoint under way.
pub(super) struct Running {
    number: u64,
    thread: JoinHandle<Result<Manifest, Switch>>,
    cancel: Cancel,
    /// What it stores; not stored after all, if it fails.
    dirty: Dirty,
    behind: u64,
    replies: Vec<Reply<()>>,
}

impl Writer {
    /// Begins a checkpoint, if there is anything to store and none under way.
    pub(super) fn begin_checkpoint(&mut self, replies: Vec<Reply<()>>) {
        self.due = Instant::now() + self.options.checkpoint_every;
        if self.running.is_some() || self.behind == 0 || self.journal.is_none() {
            // Whoever asked for it has waited for the one under way.
            answer(replies, &Ok(()));
            return;
        }
        let dirty = std::mem::take(&mut self.dirty);
        let checkpoint = self.checkpoint(self.state.clone(), dirty.clone());
        let cancel = Arc::clone(&checkpoint.cancel);
        let (number, shared) = (checkpoint.number, Arc::clone(&self.shared));
        let thread = std::thread::Builder::new()
            .name("json-checkpoint".to_owned())
            .spawn(move || {
                let made = checkpoint.make();
                shared.queue.tell(Request::Checkpointed(number));
                made
            });
        match thread {
            Ok(thread) => {
                let behind = std::mem::take(&mut self.behind);
                self.running = Some(Running {
                    number,
                    thread,
                    cancel,
                    dirty,
                    behind,
                    replies,
                });
            }
            Err(error) => {
                self.dirty.merge(dirty);
                self.put_off();
                answer(replies, &Err(Error::Unavailable(Box::new(error))));
            }
        }
    }

    pub(super) fn asked_for_checkpoint(&mut self, reply: Reply<()>) {
        if !self.prepared {
            let _ = reply.send(Err(not_prepared()));
            return;
        }
        self.wait_for_checkpoint();
        self.begin_checkpoint(vec![reply]);
    }

    /// What a checkpoint of this state needs. The journal goes on in a new segment.
    fn checkpoint(&mut self, state: State, dirty: Dirty) -> Checkpoint {
        self.attempt += 1;
        let journal = match &mut self.journal {
            Some(journal) => {
                journal.rotate();
                journal.next()
            }
            None => self.manifest.journal,
        };
        Checkpoint {
            files: Arc::clone(&self.place.files),
            root: self.place.root.clone(),
            state,
            dirty,
            manifest: self.manifest.clone(),
            number: self.attempt,
            journal,
            switch: Arc::clone(&self.shared.switch),
            cancel: Cancel::default(),
        }
    }

    /// Takes note of how a checkpoint ended, unless that was done.
    pub(super) fn end_checkpoint(&mut self, number: u64) {
        if let Some(running) = self.running.take_if(|running| running.number == number) {
            self.conclude(running);
        }
    }

    pub(super) fn wait_for_checkpoint(&mut self) {
        if let Some(running) = self.running.take() {
            self.conclude(running);
        }
    }

    pub(super) fn cancel_checkpoint(&mut self) {
        if let Some(running) = self.running.take() {
            running.cancel.store(true, Ordering::Relaxed);
            self.conclude(running);
        }
    }

    fn conclude(&mut self, running: Running) {
        let made = running.thread.join();
        let made = made.unwrap_or_else(|_| Err(Switch::Before(Error::Unavailable("the checkpoint panicked".into()))));
        let result = match made {
            Ok(manifest) => {
                self.manifest = manifest;
                self.shared.count_checkpoint();
                Ok(())
            }
            Err(switch) => {
                // All that was written stands in the journal: the next attempt stores it.
                let error = switch.error();
                tracing::warn!(%error, "a checkpoint failed; it will be tried again");
                self.dirty.merge(running.dirty);
                self.behind += running.behind;
                self.put_off();
                Err(error)
            }
        };
        answer(running.replies, &result);
    }

    fn put_off(&mut self) {
        self.not_before = Instant::now() + PAUSE;
        self.due = self.due.max(self.not_before);
    }
}

fn answer(replies: Vec<Reply<()>>, result: &Result<()>) {
    for reply in replies {
        let _ = reply.send(match result {
            Ok(()) => Ok(()),
            Err(error) => Err(again(error)),
        });
    }
}
