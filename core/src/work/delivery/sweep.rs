//! The sweep: what makes every run reach a final state by its deadline, whatever got lost on the way.

use crate::{
    Fleet,
    access::Context,
    kernel::{MAX_LIMIT, PageRequest, Result, Timestamp},
    store::{Direction, Evidence, Filter, Query, Tx, Value, Versioned},
    work::{
        Run, State,
        run::{Edge, step_run},
    },
};

/// The most pages of one sweep; the rest waits for the next.
const MAX_PAGES: usize = 20;

/// Ends the runs whose time has passed, and wakes the devices for which work waits.
pub(crate) async fn sweep(fleet: Fleet) -> Result<()> {
    end_overdue(&fleet).await?;
    wake_waiting(&fleet).await
}

async fn end_overdue(fleet: &Fleet) -> Result<()> {
    let context = Context::system("work.sweep");
    for _ in 0..MAX_PAGES {
        let now = fleet.clock().now();
        let ended = &fleet
            .store()
            .change(&context, Evidence::Observed, |mut tx| async move {
                let page = PageRequest::new(Some(MAX_LIMIT), None)?;
                let due = tx.list(&overdue(now), &page).await?.items;
                let mut ended = Vec::new();
                for before in due {
                    if let Some(run) = end(&mut tx, &before, fleet.is_online(before.device))? {
                        ended.push(run);
                    }
                }
                tx.commit().await?;
                Ok(ended)
            })
            .await?;
        for run in ended {
            tracing::info!(run = %run.id, device = %run.device, state = run.state.name(), "run ended by the sweep");
            fleet.run_signals().signal(run.id);
            fleet.device_signals().signal(run.device);
        }
        if ended.len() < MAX_LIMIT {
            break;
        }
    }
    Ok(())
}

/// Runs whose deadline has passed. Those that have ended have none.
fn overdue(now: Timestamp) -> Query<Run> {
    let due = Filter::Range(
        Run::ATTENTION_AT.name(),
        Some(Value::Int(i64::MIN)),
        Some(Value::from(now)),
    );
    Query::all().filter(due).order(Run::ATTENTION_AT, Direction::Ascending)
}

fn end(tx: &mut Tx, before: &Versioned<Run>, online: bool) -> Result<Option<Run>> {
    let mut run = before.value.clone();
    let (edge, reason) = match run.state {
        State::AwaitingApproval => (Edge::Expire, "nobody agreed to it in time"),
        State::Scheduled => (Edge::Expire, "it was not let go in time"),
        State::Queued => (Edge::Expire, "its device did not come for it in time"),
        State::Offered => (Edge::Lose, "offered, never confirmed"),
        State::Accepted | State::Running if online => (Edge::TimeOut, "no result within its time"),
        State::Accepted | State::Running => (Edge::Lose, "its device vanished"),
        _ => return Ok(None),
    };
    let actor = tx.context().actor().clone();
    step_run(tx, before, &mut run, &actor, edge, Some(reason.into()))?;
    Ok(Some(run))
}

/// The correctness path behind the wake-ups: a signal that was lost costs one sweep.
async fn wake_waiting(fleet: &Fleet) -> Result<()> {
    let query = Query::<Run>::all()
        .filter(Run::STATE.eq(State::Queued.name()))
        .order(Run::CREATED_AT, Direction::Ascending);
    let page = PageRequest::new(Some(MAX_LIMIT), None)?;
    for run in fleet.store().reader().await?.list(&query, &page).await?.items {
        fleet.known_devices().wake(run.device);
        fleet.device_signals().signal(run.device);
    }
    Ok(())
}
