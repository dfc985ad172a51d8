//! What is under way with the store: one thing at a time.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::{
    Activity, ActivityKind, BUSY, BackupId, CheckResult, StorageMove,
    ended_move::MOVES,
    moves::Destination,
    ports::{BackupFolder, StorageOpener},
};
use crate::{
    kernel::{Result, Timestamp},
    store::Backend,
};

/// What is to be done.
#[derive(Debug)]
pub(super) enum Work {
    /// A backup of this id.
    Backup(BackupId),
    /// A check.
    Check,
    /// A move of this id.
    Move(Uuid, Destination),
}

impl Work {
    fn kind(&self) -> ActivityKind {
        match self {
            Self::Backup(_) => ActivityKind::Backup,
            Self::Check => ActivityKind::Check,
            Self::Move(..) => ActivityKind::Move,
        }
    }
}

/// What is under way, and what the edge handed in.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    folder: Option<Arc<dyn BackupFolder>>,
    opener: Option<Arc<dyn StorageOpener>>,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    now: Option<Activity>,
    work: Option<Work>,
    last_check: Option<CheckResult>,
    /// The newest first.
    moves: VecDeque<MoveEntry>,
}

/// A move that this process made or makes.
#[derive(Debug)]
pub(super) struct MoveEntry {
    pub(super) shown: StorageMove,
    /// Where the data was, once it is moved.
    pub(super) former: Option<Arc<dyn Backend>>,
    cancelled: watch::Sender<bool>,
}

impl MoveEntry {
    pub(super) fn new(shown: StorageMove) -> Self {
        Self {
            shown,
            former: None,
            cancelled: watch::Sender::new(false),
        }
    }
}

/// Holds the desk for one thing; given up when dropped without having been handed over.
#[derive(Debug)]
pub(super) struct Turn<'d> {
    desk: &'d Desk,
    handed_over: bool,
}

impl Desk {
    pub(crate) fn new(folder: Option<Arc<dyn BackupFolder>>, opener: Option<Arc<dyn StorageOpener>>) -> Self {
        Self {
            folder,
            opener,
            ..Self::default()
        }
    }

    pub(super) fn opener(&self) -> Option<&Arc<dyn StorageOpener>> {
        self.opener.as_ref()
    }

    pub(super) fn remember(&self, entry: MoveEntry) {
        let moves = &mut self.state().moves;
        moves.push_front(entry);
        moves.truncate(MOVES);
    }

    pub(super) fn moves(&self) -> Vec<StorageMove> {
        self.state().moves.iter().map(|entry| entry.shown.clone()).collect()
    }

    pub(super) fn shown(&self, id: Uuid) -> Option<StorageMove> {
        self.moves().into_iter().find(|shown| shown.id == id)
    }

    pub(super) fn former(&self, id: Uuid) -> Option<Arc<dyn Backend>> {
        let state = self.state();
        state.moves.iter().find(|entry| entry.shown.id == id)?.former.clone()
    }

    pub(super) fn change(&self, id: Uuid, change: impl FnOnce(&mut MoveEntry)) {
        if let Some(entry) = self.state().moves.iter_mut().find(|entry| entry.shown.id == id) {
            change(entry);
        }
    }

    pub(super) fn cancel(&self, id: Uuid) {
        self.change(id, |entry| {
            entry.cancelled.send_replace(true);
        });
    }

    /// Completes when the move is given up.
    pub(super) async fn cancelled(&self, id: Uuid) {
        let mut cancelled = None;
        self.change(id, |entry| cancelled = Some(entry.cancelled.subscribe()));
        if let Some(mut cancelled) = cancelled
            && cancelled.wait_for(|cancelled| *cancelled).await.is_ok()
        {
            return;
        }
        // Forgotten: nobody can give it up.
        std::future::pending().await
    }

    pub(super) fn folder(&self) -> Option<&Arc<dyn BackupFolder>> {
        self.folder.as_ref()
    }

    /// Takes the desk, or says what is under way.
    pub(super) fn take(&self, kind: ActivityKind, now: Timestamp) -> Result<Turn<'_>> {
        let mut state = self.state();
        if let Some(other) = &state.now {
            return Err(BUSY.error(format!(
                "a {} of the store is under way; try again when it is over",
                other.kind
            )));
        }
        state.now = Some(Activity {
            kind,
            since: now,
            records: 0,
        });
        Ok(Turn {
            desk: self,
            handed_over: false,
        })
    }

    /// What is to be done, once there is something.
    pub(super) async fn wait(&self) -> Work {
        loop {
            if let Some(work) = self.next() {
                return work;
            }
            self.wake.notified().await;
        }
    }

    /// What is to be done, if anything is.
    pub(super) fn next(&self) -> Option<Work> {
        self.state().work.take()
    }

    /// The desk while its work is done.
    pub(super) fn resume(&self) -> Turn<'_> {
        Turn {
            desk: self,
            handed_over: false,
        }
    }

    pub(super) fn tell(&self, records: u64) {
        if let Some(now) = &mut self.state().now {
            now.records = records;
        }
    }

    pub(super) fn now(&self) -> Option<Activity> {
        self.state().now.clone()
    }

    pub(super) fn last_check(&self) -> Option<CheckResult> {
        self.state().last_check.clone()
    }

    pub(super) fn checked(&self, result: CheckResult) {
        self.state().last_check = Some(result);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Leaves the work to the loop.
    pub(super) fn hand_over(mut self, work: Work) {
        debug_assert!(self.desk.now().is_some_and(|now| now.kind == work.kind()));
        self.handed_over = true;
        self.desk.state().work = Some(work);
        self.desk.wake.notify_one();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.handed_over {
            self.desk.state().now = None;
        }
    }
}
