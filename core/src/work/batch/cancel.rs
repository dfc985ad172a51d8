//! Stops all runs of a batch: one commit says so, and the runs follow step by step. Whoever makes further runs of it makes them
//! cancelled, and a job goes on where somebody was interrupted.

use super::{BATCH_CANCEL, Batch, BatchId, BatchService, BatchView, service::existing};
use crate::{
    Fleet,
    access::Context,
    devices::DeviceId,
    kernel::{EntityId as _, MAX_LIMIT, PageRequest, PageToken, Result},
    live::Signals,
    store::{Direction, Evidence, Filter, Query, Reader, Store, Tx, Value},
    work::{
        RUNS_CANCEL, State, approvals,
        promotions::{self, PromotionStanding},
        rollouts::{Phase, Rollout, RolloutOrder},
        run::{Run, RunId, stop},
    },
};

/// Batches that one tick of the job looks for.
const BATCHES: usize = 20;

/// A run that was stopped or let go, and its device.
pub(crate) type Stopped = (RunId, DeviceId);

impl BatchService<'_> {
    /// Stops all runs of a batch: those that no device has at once, others as soon as their devices hear of it. What has ended stays
    /// as it is; stopping again changes nothing.
    pub async fn cancel(&self, context: &Context, id: BatchId) -> Result<BatchView> {
        context.require(RUNS_CANCEL)?;
        let (stopped, is_settled) = self
            .store
            .change(context, Evidence::Audit(BATCH_CANCEL), |mut tx| async move {
                let before = existing(tx.reader(), id).await?;
                let mut batch = before.value.clone();
                let has_ended = batch.expanding_since.is_none() && !has_open_runs(tx.reader(), id).await?;
                let is_tried_again = batch.retrying_since.is_some() || batch.retry_at.is_some();
                let goes_on = is_tried_again || batch.may_be_promoted();
                if batch.cancelled_at.is_some() || (has_ended && !goes_on) {
                    return Ok((Vec::new(), true));
                }
                approvals::stop(&mut tx, &batch).await?;
                let stopped = cancel_batch(&mut tx, &mut batch, "its batch was stopped").await?;
                tx.subject::<Batch>(id, batch.operation.clone());
                tx.detail("runs", stopped.len());
                tx.update(&before, &batch)?;
                tx.commit().await?;
                Ok((stopped, batch.cancelling_since.is_none()))
            })
            .await?;
        wake(self.devices(), self.runs, stopped);
        if !is_settled {
            self.stop_rest(context, id).await;
        }
        self.view(id).await
    }

    async fn stop_rest(&self, context: &Context, id: BatchId) {
        if let Err(error) = stop_runs(self.store, self.devices(), self.runs, context, id).await {
            // That it is to stop is durable, and the job goes on with it.
            tracing::warn!(batch = %id, error = error.log(), "its runs are not all stopped yet");
        }
    }
}

/// Marks a batch as stopped, in the change in which it is stored, and stops its first runs.
pub(crate) async fn cancel_batch(tx: &mut Tx, batch: &mut Batch, reason: &str) -> Result<Vec<Stopped>> {
    batch.cancelled_at = Some(tx.now());
    batch.release_at = None;
    batch.retrying_since = None;
    batch.retry_at = None;
    promotions::close(tx, batch, PromotionStanding::Stopped);
    if batch.rolls_out {
        end_rollout(tx, batch.id).await?;
    }
    let (stopped, next) = stop_page(tx, batch.id, &PageRequest::new(Some(MAX_LIMIT), None)?, reason).await?;
    let may_be_more = next.is_some() || batch.expanding_since.is_some();
    batch.cancelling_since = may_be_more.then(|| tx.now());
    Ok(stopped)
}

/// Whether a run of a batch has not ended, of those that are made.
pub(in crate::work) async fn has_open_runs(reader: &mut Reader, id: BatchId) -> Result<bool> {
    let open = Run::STATE.one_of(State::OPEN.map(|state| state.name()));
    Ok(reader.count::<Run>(&Run::BATCH.eq(id.uuid()).and(open)).await? > 0)
}

/// A batch that was stopped has no further wave.
async fn end_rollout(tx: &mut Tx, id: BatchId) -> Result<()> {
    if let Some(before) = tx.get::<Rollout>(id).await?.filter(|rollout| !rollout.phase.is_over()) {
        let mut rollout = before.value.clone();
        rollout.phase = Phase::Aborted;
        tx.update(&before, &rollout)?;
        tx.remove::<RolloutOrder>(id);
    }
    Ok(())
}

/// Wakes whoever waits for runs.
pub(crate) fn wake(devices: &Signals<DeviceId>, runs: &Signals<RunId>, moved: Vec<Stopped>) {
    for (run, device) in moved {
        devices.signal(device);
        runs.signal(run);
    }
}

/// Stops the open runs of a batch that is marked as stopped.
pub(crate) async fn stop_runs(
    store: &Store,
    devices: &Signals<DeviceId>,
    runs: &Signals<RunId>,
    context: &Context,
    id: BatchId,
) -> Result<()> {
    // Only then can no further run come behind the walk.
    let is_complete = existing(&mut store.reader().await?, id)
        .await?
        .expanding_since
        .is_none();
    let mut page = PageRequest::new(Some(MAX_LIMIT), None)?;
    loop {
        let (stopped, next) = store
            .change(context, Evidence::Audit(BATCH_CANCEL), |mut tx| {
                let page = page.clone();
                async move {
                    let before = existing(tx.reader(), id).await?;
                    let mut batch = before.value.clone();
                    let (stopped, next) = stop_page(&mut tx, id, &page, "its batch was stopped").await?;
                    if next.is_none() && is_complete {
                        batch.cancelling_since = None;
                    }
                    tx.subject::<Batch>(id, batch.operation.clone());
                    tx.detail("runs", stopped.len());
                    tx.update(&before, &batch)?;
                    tx.commit().await?;
                    Ok((stopped, next))
                }
            })
            .await?;
        wake(devices, runs, stopped);
        match next {
            Some(next) => page = PageRequest::new(Some(MAX_LIMIT), Some(next))?,
            None => return Ok(()),
        }
    }
}

/// Stops what is open and does not know yet of a page of a batch's runs.
async fn stop_page(
    tx: &mut Tx,
    id: BatchId,
    page: &PageRequest,
    reason: &str,
) -> Result<(Vec<Stopped>, Option<PageToken>)> {
    let query = Query::<Run>::all().filter(Run::BATCH.eq(id.uuid()));
    let found = tx.list(&query, page).await?;
    let mut stopped = Vec::new();
    for before in &found.items {
        if stop(tx, before, Some(reason))?.is_some() {
            stopped.push((before.id, before.device));
        }
    }
    Ok((stopped, found.next))
}

/// Goes on with batches whose stopping was interrupted.
pub(crate) async fn cancel_open(fleet: Fleet) -> Result<()> {
    let context = Context::system("work.cancel");
    let all = Filter::Range(Batch::CANCELLING_SINCE.name(), Some(Value::Int(i64::MIN)), None);
    let query = Query::<Batch>::all()
        .filter(all)
        .order(Batch::CANCELLING_SINCE, Direction::Ascending);
    let page = PageRequest::new(Some(BATCHES), None)?;
    for batch in fleet.store().reader().await?.list(&query, &page).await?.items {
        let (devices, runs) = (fleet.device_signals(), fleet.run_signals());
        if let Err(error) = stop_runs(fleet.store(), devices, runs, &context, batch.id).await {
            // The next tick tries again; the others need not wait for it.
            tracing::warn!(batch = %batch.id, error = error.log(), "its runs are not all stopped yet");
        }
    }
    Ok(())
}
