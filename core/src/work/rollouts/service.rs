//! Use cases over rollouts.

use super::{
    Phase, ROLLOUT_ABORT, ROLLOUT_NOT_FOUND, ROLLOUT_OVER, ROLLOUT_PAUSE, ROLLOUT_RESUME, Rollout, RolloutAbort,
    RolloutFailure, RolloutOrder, RolloutView, Rollouts,
    settle::{settle_page, take_back_page},
    standing::{failed, of_all},
    words::in_words,
};
use crate::{
    access::Context,
    devices::DeviceId,
    kernel::{Error, MAX_LIMIT, Page, PageRequest, Result},
    store::{Direction, Evidence, Filter, Query, Reader, Store, Tx, Value, Versioned},
    work::{
        Batch, BatchId, RUNS_CANCEL, RUNS_READ, approvals,
        batch::{cancel_batch, existing, stop_runs, wake},
        run::{Run, RunId},
    },
};

/// The most failures that are shown.
const MAX_FAILURES: usize = 20;

/// Which rollouts are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RolloutFilter {
    /// Only those that are not over.
    pub open: bool,
}

/// Reads rollouts, holds them, lets them go on and gives them up.
#[derive(Debug)]
pub struct RolloutService<'a> {
    store: &'a Store,
    rollouts: Rollouts<'a>,
}

impl<'a> RolloutService<'a> {
    pub(crate) fn new(rollouts: Rollouts<'a>) -> Self {
        let store = rollouts.release.store;
        Self { store, rollouts }
    }

    /// A page of rollouts, newest first.
    pub async fn list(
        &self,
        context: &Context,
        filter: &RolloutFilter,
        page: &PageRequest,
    ) -> Result<Page<RolloutView>> {
        context.require(RUNS_READ)?;
        let query = Query::<Rollout>::all();
        let query = match filter.open {
            true => query
                .filter(Filter::Range(
                    Rollout::OPEN_SINCE.name(),
                    Some(Value::Int(i64::MIN)),
                    None,
                ))
                .order(Rollout::OPEN_SINCE, Direction::Descending),
            false => query.order(Rollout::CREATED_AT, Direction::Descending),
        };
        let mut reader = self.store.reader().await?;
        let found = reader.list(&query, page).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for rollout in found.items {
            items.push(view(&mut reader, rollout.value).await?);
        }
        Ok(Page {
            items,
            next: found.next,
        })
    }

    /// The rollout of a batch.
    pub async fn show(&self, context: &Context, id: BatchId) -> Result<RolloutView> {
        context.require(RUNS_READ)?;
        let mut reader = self.store.reader().await?;
        let rollout = reader.get::<Rollout>(id).await?.ok_or_else(|| not_found(id))?;
        view(&mut reader, rollout.value).await
    }

    /// Holds a rollout: no further run begins, and what devices have goes on. Holding it again changes nothing.
    pub async fn pause(&self, context: &Context, id: BatchId) -> Result<RolloutView> {
        context.require(RUNS_CANCEL)?;
        let moved = self
            .store
            .change(context, Evidence::Audit(ROLLOUT_PAUSE), |mut tx| async move {
                let (batch, before) = open(&mut tx, id).await?;
                let mut rollout = before.value.clone();
                rollout.paused_by.get_or_insert_with(|| tx.context().actor().clone());
                let moved = settle_first(&mut tx, &batch, &mut rollout).await?;
                tx.subject::<Batch>(id, batch.value.operation);
                tx.update(&before, &rollout)?;
                tx.commit().await?;
                Ok(moved)
            })
            .await?;
        self.wake(moved);
        self.go_on(context, id).await;
        self.read_back(id).await
    }

    /// Lets a rollout go on that somebody held or that halted, or has its next wave begin. What failed up to now counts no more. It takes
    /// the right to the operation, too.
    pub async fn resume(&self, context: &Context, id: BatchId) -> Result<RolloutView> {
        context.require(RUNS_CANCEL)?;
        let operations = self.rollouts.release.operations;
        let moved = self
            .store
            .change(context, Evidence::Audit(ROLLOUT_RESUME), |mut tx| async move {
                let (batch, before) = open(&mut tx, id).await?;
                context.require(operations.kind(&batch.operation)?.permission)?;
                let mut rollout = before.value.clone();
                let (all, _) = of_all(tx.reader(), &rollout).await?;
                rollout.resume(all, tx.now());
                let moved = settle_first(&mut tx, &batch, &mut rollout).await?;
                tx.subject::<Batch>(id, batch.value.operation);
                tx.detail("failed", all.failed);
                tx.update(&before, &rollout)?;
                tx.commit().await?;
                Ok(moved)
            })
            .await?;
        self.wake(moved);
        self.go_on(context, id).await;
        self.read_back(id).await
    }

    /// Gives a rollout up: what has not begun is taken back, and what devices have ends by itself, or is stopped where that is asked for.
    pub async fn abort(&self, context: &Context, id: BatchId, how: &RolloutAbort) -> Result<RolloutView> {
        context.require(RUNS_CANCEL)?;
        let stops = how.stop_running;
        let stopped = self
            .store
            .change(context, Evidence::Audit(ROLLOUT_ABORT), |mut tx| async move {
                let (batch_before, before) = open(&mut tx, id).await?;
                tx.subject::<Batch>(id, batch_before.operation.clone());
                tx.detail("stop_running", stops);
                approvals::stop(&mut tx, &batch_before).await?;
                let stopped = if stops {
                    let mut batch = batch_before.value.clone();
                    let stopped = cancel_batch(&mut tx, &mut batch, "its rollout was given up").await?;
                    tx.update(&batch_before, &batch)?;
                    stopped
                } else {
                    let mut rollout = before.value.clone();
                    rollout.phase = Phase::Aborted;
                    rollout.takes_back = true;
                    let taken_back = take_back_page(&mut tx, &batch_before, &mut rollout).await?;
                    tx.remove::<RolloutOrder>(id);
                    tx.update(&before, &rollout)?;
                    taken_back.moved
                };
                tx.commit().await?;
                Ok(stopped)
            })
            .await?;
        let release = self.rollouts.release;
        self.wake(stopped);
        if stops && let Err(error) = stop_runs(self.store, release.devices, release.runs, context, id).await {
            // That they are to stop is durable, and the job goes on with it.
            tracing::warn!(batch = %id, error = error.log(), "its runs are not all stopped yet");
        }
        self.go_on(context, id).await;
        self.read_back(id).await
    }

    fn wake(&self, moved: Vec<(RunId, DeviceId)>) {
        wake(self.rollouts.release.devices, self.rollouts.release.runs, moved);
    }

    async fn go_on(&self, context: &Context, id: BatchId) {
        if let Err(error) = self.rollouts.advance(context, id, false).await {
            // What was decided is durable, and the job goes on with it.
            tracing::warn!(batch = %id, error = error.log(), "its rollout did not go on yet");
        }
    }

    async fn read_back(&self, id: BatchId) -> Result<RolloutView> {
        // Whoever may change it may read what became of it.
        self.show(&Context::system("work"), id).await
    }
}

/// Makes the first runs fit how a rollout stands from now on.
async fn settle_first(tx: &mut Tx, batch: &Batch, rollout: &mut Rollout) -> Result<Vec<(RunId, DeviceId)>> {
    if !rollout.has_to_settle() {
        return Ok(Vec::new());
    }
    let page = PageRequest::new(Some(MAX_LIMIT), None)?;
    Ok(settle_page(tx, batch, rollout, &page).await?.moved)
}

/// The batch and its rollout, which is not over.
async fn open(tx: &mut Tx, id: BatchId) -> Result<(Versioned<Batch>, Versioned<Rollout>)> {
    let rollout = tx.get::<Rollout>(id).await?.ok_or_else(|| not_found(id))?;
    if rollout.phase.is_over() {
        return Err(ROLLOUT_OVER.error("the rollout is over"));
    }
    Ok((existing(tx.reader(), id).await?, rollout))
}

async fn view(reader: &mut Reader, rollout: Rollout) -> Result<RolloutView> {
    let (all, _) = of_all(reader, &rollout).await?;
    let failures = match all.failed {
        0 => Vec::new(),
        _ => failed(reader, &rollout, MAX_FAILURES).await?,
    };
    let failure = |run: Run| RolloutFailure {
        run: run.id,
        device: run.device,
        device_name: run.device_name,
        state: run.state,
        message: run.ending.and_then(|ending| ending.message.or(ending.code)),
    };
    Ok(RolloutView {
        batch: rollout.id,
        in_words: in_words(&rollout, all.ended.into()),
        runs: rollout.total().into(),
        ended: all.ended.into(),
        failed: all.failed.into(),
        failures: failures.into_iter().map(failure).collect(),
        operation: rollout.operation,
        policy: rollout.policy,
        phase: rollout.phase,
        paused_by: rollout.paused_by,
        wave: rollout.wave + 1,
        waves: rollout.waves,
        admitted: rollout.admitted,
        held: u32::try_from(rollout.held.len()).unwrap_or(u32::MAX),
        unwell: rollout.unwell,
        created_at: rollout.created_at,
    })
}

fn not_found(id: BatchId) -> Error {
    ROLLOUT_NOT_FOUND.error(format!("there is no batch {id} that goes from wave to wave"))
}
