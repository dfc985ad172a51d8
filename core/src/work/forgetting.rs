//! Work that ended long ago is forgotten: a batch with its runs, approvals and rollout, and what devices did by themselves.
//!
//! Output and history of runs are rows with shorter lives of their own; what is forgotten here are the records behind them. A batch goes
//! last: whoever is interrupted finds it again and goes on.

use std::time::Duration;

use super::{
    Batch, BatchId, Run, State,
    approvals::Approval,
    batch::BatchTargets,
    rollouts::{Rollout, RolloutOrder},
};
use crate::{
    Fleet,
    access::{Action, Context},
    kernel::{EntityId as _, MAX_LIMIT, PageRequest, PageToken, Result, Timestamp},
    retention::{before, check_days},
    settings::SettingKey,
    store::{Direction, Entity, Evidence, Filter, Query, Reader, Value, Versioned},
};

/// Work that ended long ago was forgotten.
pub const BATCH_FORGET: Action = Action::new("batch.forget");
/// What devices did by themselves long ago was forgotten.
pub const RUN_FORGET: Action = Action::new("run.forget");

/// How long work is kept.
pub const RUN_DAYS: SettingKey<u32> = SettingKey::new(
    "work.keep_days",
    "How many days work is kept after the time in which it could begin, with what became of it on each device; 0 keeps it for ever.",
    || 365,
)
.validated(check_days);

/// Pages that one tick looks at, of batches and of runs; the next goes on from the oldest again.
const PAGES: usize = 50;
/// Commits in which one tick forgets batches with their runs, and those for what devices did by themselves: each deletes a page.
const COMMITS: usize = 200;
/// How soon the next tick comes: what is left over waits no longer.
pub(in crate::work) const FORGET_EVERY: Duration = Duration::from_secs(300);

/// Forgets what has to go, or as much of it as one tick does.
pub(in crate::work) async fn forget_ended(fleet: Fleet) -> Result<()> {
    forget_some(&fleet, COMMITS).await
}

/// Forgets what has to go in at most so many commits for batches, and as many for what devices did by themselves.
pub(in crate::work) async fn forget_some(fleet: &Fleet, commits: usize) -> Result<()> {
    let days = fleet.settings().get(&RUN_DAYS);
    let Some(since) = before(days, fleet.clock().now()) else {
        return Ok(());
    };
    let is_done = [
        forget_batches(fleet, since, commits).await?,
        forget_own_runs(fleet, since, commits).await?,
    ];
    if is_done.contains(&false) {
        tracing::info!("more work is too old than is forgotten at once; it goes on in a moment");
    }
    Ok(())
}

/// Whether all are gone that had to go.
async fn forget_batches(fleet: &Fleet, since: Timestamp, mut commits: usize) -> Result<bool> {
    let mut after = None;
    for _ in 0..PAGES {
        let query = Query::<Batch>::all()
            .filter(older(Batch::CREATED_AT.name(), since))
            .order(Batch::CREATED_AT, Direction::Ascending);
        let (batches, next) = page(fleet, &query, after).await?;
        for batch in batches {
            let is_over = is_over(&mut fleet.store().reader().await?, &batch, since).await?;
            if is_over && !forget(fleet, batch.id, &mut commits).await? {
                return Ok(false);
            }
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(true),
        }
    }
    Ok(false)
}

/// Whether nothing can happen to a batch any more, and all of it is older than that.
async fn is_over(reader: &mut Reader, batch: &Batch, since: Timestamp) -> Result<bool> {
    let waits = batch.expanding_since.is_some()
        || batch.release_at.is_some()
        || batch.cancelling_since.is_some()
        || batch.retrying_since.is_some()
        || batch.retry_at.is_some()
        || batch.may_be_promoted();
    if waits || batch.expires_at >= since {
        return Ok(false);
    }
    let open = State::ALL.iter().filter(|state| !state.is_terminal());
    let open = Run::STATE.one_of(open.map(|state| state.name()));
    let runs = Query::<Run>::all().filter(Run::BATCH.eq(batch.id.uuid())).filter(open);
    let first = PageRequest::new(Some(1), None)?;
    Ok(reader.list(&runs, &first).await?.items.is_empty())
}

/// Forgets a batch: its runs, page by page, and itself with the last of them. Whether it is gone: it is found again where no more commits
/// were left.
async fn forget(fleet: &Fleet, id: BatchId, commits: &mut usize) -> Result<bool> {
    let context = &Context::system("work.forget");
    while *commits > 0 {
        *commits -= 1;
        let is_done = fleet
            .store()
            .change(context, Evidence::Audit(BATCH_FORGET), |mut tx| async move {
                let Some(batch) = tx.get::<Batch>(id).await? else {
                    return Ok(true);
                };
                let runs = Query::<Run>::all().filter(Run::BATCH.eq(id.uuid()));
                let runs = tx.list(&runs, &PageRequest::new(Some(MAX_LIMIT), None)?).await?;
                runs.items.iter().for_each(|run| tx.delete(run));
                let is_last = runs.next.is_none();
                if is_last {
                    let approvals = Query::<Approval>::all().filter(Approval::BATCH.eq(id.uuid()));
                    let approvals = tx.list(&approvals, &PageRequest::new(Some(MAX_LIMIT), None)?).await?;
                    approvals.items.iter().for_each(|approval| tx.delete(approval));
                    if batch.rolls_out {
                        tx.remove::<Rollout>(id);
                        tx.remove::<RolloutOrder>(id);
                    }
                    tx.remove::<BatchTargets>(id);
                    tx.delete(&batch);
                }
                tx.subject::<Batch>(id, batch.operation.clone());
                tx.detail("created_at", batch.created_at.to_string());
                tx.detail("runs", runs.items.len());
                tx.detail("complete", is_last);
                tx.commit().await?;
                Ok(is_last)
            })
            .await?;
        if is_done {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Forgets what devices did by themselves; whether all is gone that had to go.
async fn forget_own_runs(fleet: &Fleet, since: Timestamp, commits: usize) -> Result<bool> {
    let context = &Context::system("work.forget");
    for _ in 0..commits {
        let query = Query::<Run>::all()
            .filter(older(Run::OWN_CREATED_AT.name(), since))
            .order(Run::OWN_CREATED_AT, Direction::Ascending);
        let (over, next) = page(fleet, &query, None).await?;
        if over.is_empty() {
            return Ok(true);
        }
        let over = &over;
        fleet
            .store()
            .change(context, Evidence::Audit(RUN_FORGET), |mut tx| async move {
                over.iter().for_each(|run| tx.delete(run));
                tx.detail("runs", over.len());
                tx.commit().await
            })
            .await?;
        if next.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn page<T: Entity>(
    fleet: &Fleet,
    query: &Query<T>,
    after: Option<PageToken>,
) -> Result<(Vec<Versioned<T>>, Option<PageToken>)> {
    let page = PageRequest::new(Some(MAX_LIMIT), after)?;
    let found = fleet.store().reader().await?.list(query, &page).await?;
    Ok((found.items, found.next))
}

fn older(column: &'static str, since: Timestamp) -> Filter {
    Filter::Range(column, Some(Value::Int(i64::MIN)), Some(Value::from(since)))
}
