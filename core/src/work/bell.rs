//! Goes on with a rollout, and with what follows a dry run, as soon as a run has ended, where this process has written that. What it misses,
//! as runs that end by another server's hand, the jobs find at their next tick.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    Batch, BatchId, State,
    promotions::looking,
    rollouts::{Rollout, open_rollouts},
    run::Run,
};
use crate::{
    Fleet,
    access::Context,
    kernel::{EntityId as _, MAX_LIMIT, PageRequest, Result},
    store::{CommitObserver, Entity as _, IndexedValues, Name, Value, Write},
};

/// The most batches that are remembered; those beyond go on by the jobs alone.
const MAX_OPEN: usize = 2 * MAX_LIMIT;
/// How often it is looked which batches wait for ends: other servers make some.
const LOOK: Duration = Duration::from_secs(5);
/// The time between two steps: ends that come within it are looked at together.
const GAP: Duration = Duration::from_millis(100);

/// What waits for the runs of a batch to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::work) enum Waits {
    /// Its rollout.
    Rollout,
    /// What follows its dry run.
    Promotion,
}

/// Rung when a run has ended that something waits for.
#[derive(Debug)]
pub(crate) struct RunBell {
    remembered: Mutex<Remembered>,
    /// Whether anything waits: what is written of runs is looked at only then.
    is_any_open: AtomicBool,
    rung: Notify,
    /// Where a run's index says which batch it is of, and its state.
    batch_at: Option<usize>,
    state_at: Option<usize>,
    /// Where a batch's index says that it is a dry run under way that comes first.
    looking_at: Option<usize>,
}

#[derive(Debug, Default)]
struct Remembered {
    open: BTreeMap<BatchId, Waits>,
    /// Those of which a run has ended.
    due: BTreeMap<BatchId, Waits>,
}

impl Default for RunBell {
    fn default() -> Self {
        fn at<T: crate::store::Entity>(name: Name) -> Option<usize> {
            T::columns().iter().position(|column| column.name == name)
        }
        Self {
            remembered: Mutex::default(),
            is_any_open: AtomicBool::new(false),
            rung: Notify::new(),
            batch_at: at::<Run>(Run::BATCH.name()),
            state_at: at::<Run>(Run::STATE.name()),
            looking_at: at::<Batch>(Batch::LOOKING_SINCE.name()),
        }
    }
}

impl RunBell {
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

    /// Whether a batch is a dry run under way that comes first.
    fn is_looking(&self, index: &IndexedValues) -> bool {
        let value = self.looking_at.and_then(|at| index.get(at)?.first());
        value.is_some_and(|value| *value != Value::Null)
    }

    fn set_open(&self, open: BTreeMap<BatchId, Waits>) {
        let mut remembered = self.remembered();
        remembered.due.retain(|batch, _| open.contains_key(batch));
        self.is_any_open.store(!open.is_empty(), Ordering::Relaxed);
        remembered.open = open;
    }

    pub(in crate::work) fn take_due(&self) -> BTreeMap<BatchId, Waits> {
        std::mem::take(&mut self.remembered().due)
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        // No step leaves it half-changed.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommitObserver for RunBell {
    fn watches(&self, kind: Name) -> bool {
        kind == Rollout::KIND || kind == Batch::KIND || (kind == Run::KIND && self.is_any_open.load(Ordering::Relaxed))
    }

    fn written(&self, writes: &[Write], _: bool) {
        let mut remembered = self.remembered();
        let before = remembered.due.len();
        for write in writes {
            let kind = write.key().kind;
            match write {
                Write::Put { index, .. } if kind == Run::KIND => {
                    let batch = self.ended(index);
                    let waits = batch.and_then(|batch| Some((batch, *remembered.open.get(&batch)?)));
                    remembered.due.extend(waits);
                }
                Write::Put { .. } if kind == Rollout::KIND && remembered.open.len() < MAX_OPEN => {
                    // One that is over is forgotten at the next look.
                    let batch = BatchId::from_uuid(write.key().id);
                    remembered.open.insert(batch, Waits::Rollout);
                    self.is_any_open.store(true, Ordering::Relaxed);
                }
                Write::Put { index, .. } if kind == Batch::KIND && self.is_looking(index) => {
                    let batch = BatchId::from_uuid(write.key().id);
                    if remembered.open.len() < MAX_OPEN {
                        remembered.open.insert(batch, Waits::Promotion);
                        self.is_any_open.store(true, Ordering::Relaxed);
                    }
                    // Its last run may have ended before it was known that there are no more.
                    remembered.due.insert(batch, Waits::Promotion);
                }
                _ => {}
            }
        }
        if remembered.due.len() > before {
            self.rung.notify_one();
        }
    }
}

/// Goes on with what waits for runs that have ended, until it is dropped.
pub(crate) async fn drive(fleet: &Fleet, bell: &RunBell) {
    loop {
        if tokio::time::timeout(LOOK, bell.rung.notified()).await.is_err()
            && let Err(error) = look(fleet, bell).await
        {
            tracing::debug!(error = error.log(), "what waits for runs could not be looked for");
        }
        for (batch, waits) in bell.take_due() {
            let outcome = match waits {
                Waits::Rollout => {
                    let context = Context::system("work.rollouts");
                    fleet.rollouts_at_work().advance(&context, batch, false).await
                }
                Waits::Promotion => {
                    let context = Context::system("work.promotions");
                    fleet.batches().settle_promotion(&context, batch).await
                }
            };
            if let Err(error) = outcome {
                // The job tries again.
                tracing::debug!(%batch, error = error.log(), "it did not go on");
            }
        }
        tokio::time::sleep(GAP).await;
    }
}

async fn look(fleet: &Fleet, bell: &RunBell) -> Result<()> {
    let page = PageRequest::new(Some(MAX_LIMIT), None)?;
    let mut reader = fleet.store().reader().await?;
    let rollouts = reader.list(&open_rollouts(), &page).await?.items;
    let looks = reader.list(&looking(), &page).await?.items;
    let rollouts = rollouts.iter().map(|rollout| (rollout.id, Waits::Rollout));
    let looks = looks.iter().map(|batch| (batch.id, Waits::Promotion));
    bell.set_open(rollouts.chain(looks).collect());
    Ok(())
}
