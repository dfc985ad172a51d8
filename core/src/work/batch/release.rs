//! Lets runs go that waited for their time or for somebody to agree: step by step, each a commit of its own.

use super::{BATCH_RELEASE, Batch, BatchId, cancel::wake, service::existing};
use crate::{
    Fleet,
    access::Context,
    devices::DeviceId,
    kernel::{EntityId as _, MAX_LIMIT, PageRequest, Result, Timestamp},
    live::Signals,
    store::{Direction, Evidence, Filter, Query, Store, Tx, Value, Versioned},
    work::{
        State,
        run::{Edge, Run, RunId, move_run},
    },
};

/// Batches that one tick of the job looks for.
const BATCHES: usize = 20;

/// Lets the runs of batches go whose time has come.
pub(crate) async fn release_due(fleet: Fleet) -> Result<()> {
    let context = Context::system("work.release");
    let page = PageRequest::new(Some(BATCHES), None)?;
    let due = due(fleet.clock().now());
    for batch in fleet.store().reader().await?.list(&due, &page).await?.items {
        let (devices, runs) = (fleet.device_signals(), fleet.run_signals());
        if let Err(error) = let_go(fleet.store(), devices, runs, &context, batch.id).await {
            // The next tick tries again; the others need not wait for it.
            tracing::warn!(batch = %batch.id, error = error.log(), "its runs are not all let go yet");
        }
    }
    Ok(())
}

fn due(now: Timestamp) -> Query<Batch> {
    let range = Filter::Range(
        Batch::RELEASE_AT.name(),
        Some(Value::Int(i64::MIN)),
        // The upper end is not part of a range.
        Some(Value::Int(now.as_micros().saturating_add(1))),
    );
    Query::all()
        .filter(range)
        .order(Batch::RELEASE_AT, Direction::Ascending)
}

/// Lets the waiting runs of a batch go, if its time has come.
pub(crate) async fn let_go(
    store: &Store,
    devices: &Signals<DeviceId>,
    runs: &Signals<RunId>,
    context: &Context,
    id: BatchId,
) -> Result<()> {
    loop {
        let (released, is_over) = store
            .change(context, Evidence::Observed, |mut tx| async move {
                let before = existing(tx.reader(), id).await?;
                let mut batch = before.value.clone();
                let released = release_page(&mut tx, &mut batch).await?;
                // Whoever stops the batch meanwhile goes first: then this is decided anew.
                if tx.update(&before, &batch)? {
                    tx.subject::<Batch>(id, batch.operation);
                    tx.detail("runs", batch.runs);
                    tx.account(context, BATCH_RELEASE)?;
                }
                tx.commit().await?;
                let is_over = released.is_empty() || batch.release_at.is_none();
                Ok((released, is_over))
            })
            .await?;
        wake(devices, runs, released);
        if is_over {
            return Ok(());
        }
    }
}

/// Lets a page of waiting runs go, in the change in which the batch is stored: with the last of them its time of release goes, too.
pub(crate) async fn release_page(tx: &mut Tx, batch: &mut Batch) -> Result<Vec<(RunId, DeviceId)>> {
    if batch.release_at.is_none_or(|at| at > tx.now()) {
        return Ok(Vec::new());
    }
    let waiting = [State::AwaitingApproval, State::Scheduled].map(|state| state.name());
    let query = Query::<Run>::all()
        .filter(Run::BATCH.eq(batch.id.uuid()))
        .filter(Run::STATE.one_of(waiting));
    let found = tx.list(&query, &PageRequest::new(Some(MAX_LIMIT), None)?).await?;
    for before in &found.items {
        release(tx, before, batch.expires_at)?;
    }
    if found.next.is_none() && batch.expanding_since.is_none() {
        batch.release_at = None;
    }
    Ok(found.items.iter().map(|run| (run.id, run.device)).collect())
}

fn release(tx: &mut Tx, before: &Versioned<Run>, expires_at: Timestamp) -> Result<()> {
    let (mut run, actor) = (before.value.clone(), tx.context().actor().clone());
    run.expires_at = expires_at;
    if run.state == State::AwaitingApproval {
        move_run(tx, &mut run, &actor, Edge::Schedule, None)?;
    }
    move_run(tx, &mut run, &actor, Edge::Release, None)?;
    tx.update(before, &run).map(drop)
}
