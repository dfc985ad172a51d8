//! Goes on with a rollout as soon as a run of it has ended, where this process has written that. What it misses, as runs that end by
//! another server's hand, the job finds at its next tick.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{Rollout, Rollouts, drive::open};
use crate::{
    access::Context,
    kernel::{EntityId as _, MAX_LIMIT, PageRequest, Result},
    store::{CommitObserver, Entity as _, IndexedValues, Name, Value, Write},
    work::{BatchId, State, run::Run},
};

/// The most open rollouts that are remembered; those beyond go on by the job alone.
const MAX_OPEN: usize = MAX_LIMIT;
/// How often it is looked which rollouts are open: other servers make some.
const LOOK: Duration = Duration::from_secs(5);
/// The time between two steps: ends that come within it are looked at together.
const GAP: Duration = Duration::from_millis(100);

/// Rung when a run of an open rollout has ended.
#[derive(Debug)]
pub(crate) struct RolloutBell {
    remembered: Mutex<Remembered>,
    /// Whether a rollout is open: what is written of runs is looked at only then.
    is_any_open: AtomicBool,
    rung: Notify,
    /// Where a run's index says which batch it is of, and its state.
    batch_at: Option<usize>,
    state_at: Option<usize>,
}

#[derive(Debug, Default)]
struct Remembered {
    open: BTreeSet<BatchId>,
    /// Those of which a run has ended.
    due: BTreeSet<BatchId>,
}

impl Default for RolloutBell {
    fn default() -> Self {
        let columns = Run::columns();
        let at = |name: Name| columns.iter().position(|column| column.name == name);
        Self {
            remembered: Mutex::default(),
            is_any_open: AtomicBool::new(false),
            rung: Notify::new(),
            batch_at: at(Run::BATCH.name()),
            state_at: at(Run::STATE.name()),
        }
    }
}

impl RolloutBell {
    /// The batch of a run that has ended.
    fn ended(&self, index: &IndexedValues) -> Option<BatchId> {
        let [Value::Text(state)] = index.get(self.state_at?)?.as_slice() else {
            return None;
        };
        let [Value::Id(batch)] = index.get(self.batch_at?)?.as_slice() else {
            return None;
        };
        State::from_name(state)?
            .is_terminal()
            .then(|| BatchId::from_uuid(*batch))
    }

    fn set_open(&self, open: BTreeSet<BatchId>) {
        let mut remembered = self.remembered();
        remembered.due.retain(|batch| open.contains(batch));
        self.is_any_open.store(!open.is_empty(), Ordering::Relaxed);
        remembered.open = open;
    }

    pub(in crate::work) fn take_due(&self) -> BTreeSet<BatchId> {
        std::mem::take(&mut self.remembered().due)
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        // No step leaves it half-changed.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommitObserver for RolloutBell {
    fn watches(&self, kind: Name) -> bool {
        kind == Rollout::KIND || (kind == Run::KIND && self.is_any_open.load(Ordering::Relaxed))
    }

    fn written(&self, writes: &[Write], _: bool) {
        let mut remembered = self.remembered();
        let before = remembered.due.len();
        for write in writes {
            let kind = write.key().kind;
            match write {
                Write::Put { index, .. } if kind == Run::KIND => {
                    if let Some(batch) = self.ended(index).filter(|batch| remembered.open.contains(batch)) {
                        remembered.due.insert(batch);
                    }
                }
                Write::Put { .. } if kind == Rollout::KIND && remembered.open.len() < MAX_OPEN => {
                    // One that is over is forgotten at the next look.
                    remembered.open.insert(BatchId::from_uuid(write.key().id));
                    self.is_any_open.store(true, Ordering::Relaxed);
                }
                _ => {}
            }
        }
        if remembered.due.len() > before {
            self.rung.notify_one();
        }
    }
}

impl Rollouts<'_> {
    /// Goes on with rollouts of which runs have ended, until it is dropped.
    pub(crate) async fn drive(&self, bell: &RolloutBell) {
        let context = Context::system("work.rollouts");
        loop {
            if tokio::time::timeout(LOOK, bell.rung.notified()).await.is_err()
                && let Err(error) = self.look(bell).await
            {
                tracing::debug!(error = error.log(), "open rollouts could not be looked for");
            }
            for batch in bell.take_due() {
                if let Err(error) = self.advance(&context, batch, false).await {
                    // The job tries again.
                    tracing::debug!(%batch, error = error.log(), "its rollout did not go on");
                }
            }
            tokio::time::sleep(GAP).await;
        }
    }

    async fn look(&self, bell: &RolloutBell) -> Result<()> {
        let page = PageRequest::new(Some(MAX_OPEN), None)?;
        let found = self.release.store.reader().await?.list(&open(), &page).await?;
        bell.set_open(found.items.iter().map(|rollout| rollout.id).collect());
        Ok(())
    }
}
