//! Makes the work of plans whose time has come: each time once, whichever server looks first.

use super::{Due, PLAN_MISS, Plan, PlanOutcome, PlanProgress};
use crate::{
    Fleet,
    access::Context,
    kernel::{Class, MAX_LIMIT, PageRequest, Result, Timestamp},
    store::{Direction, Evidence, Filter, Query, Value},
};

/// Makes the work of all times that have come.
pub(crate) async fn start_due(fleet: Fleet) -> Result<()> {
    let context = Context::system("work.plans");
    let page = PageRequest::new(Some(MAX_LIMIT), None)?;
    let due = due(fleet.clock().now());
    let mut reader = fleet.store().reader().await?;
    let found = reader.list(&due, &page).await?.items;
    let ids: Vec<_> = found.iter().map(|progress| progress.id).collect();
    let plans = reader.get_many::<Plan>(&ids).await?;
    drop(reader);
    for (plan, progress) in plans.into_iter().zip(found) {
        let Some(plan) = plan else { continue };
        let Some(due) = Due::of(plan, progress, fleet.clock().now()) else {
            continue;
        };
        if let Err(error) = start(&fleet, &context, &due).await {
            // The next tick tries again; the others need not wait for it.
            tracing::warn!(plan = %due.plan.id, error = error.log(), "its work is not made yet");
        }
    }
    Ok(())
}

fn due(now: Timestamp) -> Query<PlanProgress> {
    let range = Filter::Range(
        PlanProgress::NEXT_AT.name(),
        Some(Value::Int(i64::MIN)),
        // The upper end is not part of a range.
        Some(Value::Int(now.as_micros().saturating_add(1))),
    );
    Query::all()
        .filter(range)
        .order(PlanProgress::NEXT_AT, Direction::Ascending)
}

async fn start(fleet: &Fleet, context: &Context, due: &Due) -> Result<()> {
    let Some(due_at) = due.turn.run else {
        return miss(fleet, context, due, PlanOutcome::Missed).await;
    };
    match fleet.batches().carry_out_due(context, due, due_at).await {
        Ok(batch) => {
            tracing::info!(plan = %due.plan.id, batch = %batch.id, runs = batch.runs, "its time has come");
            Ok(())
        }
        // What is refused is refused again: the next time may be another matter.
        Err(error)
            if matches!(
                error.class(),
                Class::Invalid | Class::Denied | Class::NotFound | Class::TooLarge
            ) =>
        {
            let outcome = PlanOutcome::refused(error.code(), error.message());
            miss(fleet, context, due, outcome).await
        }
        Err(error) => Err(error),
    }
}

async fn miss(fleet: &Fleet, context: &Context, due: &Due, outcome: PlanOutcome) -> Result<()> {
    let outcome = &outcome;
    fleet
        .store()
        .change(context, Evidence::Audit(PLAN_MISS), |mut tx| async move {
            due.require_unsettled(&mut tx).await?;
            tx.subject::<Plan>(due.plan.id, due.plan.name.clone());
            tx.detail("due_at", due.turn.settled.map(|at| at.to_string()));
            if let PlanOutcome::Refused { code, .. } = outcome {
                tx.detail("code", code.as_str());
            }
            due.settle(&mut tx, outcome.clone())?;
            tx.commit().await
        })
        .await
        .map(drop)
}
