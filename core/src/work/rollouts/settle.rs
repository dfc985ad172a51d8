//! Holds runs back that were let go and that no device has yet, lets them go again, and takes back what had not begun: step by step,
//! each a commit of its own, and gone on with by the job where somebody was interrupted.

use super::{ROLLOUT_ABORT, ROLLOUT_ADVANCE, Rollout, Rollouts, TURN_WITHIN};
use crate::{
    access::Context,
    devices::DeviceId,
    kernel::{EntityId as _, MAX_LIMIT, PageRequest, PageToken, Result},
    store::{Evidence, Query, Tx, Versioned},
    work::{
        Batch, BatchId, State,
        batch::{existing, wake},
        run::{Edge, Run, RunId, step_run},
    },
};

/// What a commit came to.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) moved: Vec<(RunId, DeviceId)>,
    next: Option<PageToken>,
    is_over: bool,
}

impl Rollouts<'_> {
    /// Makes runs that are queued fit how the rollout stands: held back, or let go again.
    pub(super) async fn settle(&self, context: &Context, id: BatchId) -> Result<()> {
        let mut page = PageRequest::new(Some(MAX_LIMIT), None)?;
        loop {
            let settled = self
                .release
                .store
                .change(context, Evidence::Audit(ROLLOUT_ADVANCE), |tx| {
                    settle_step(tx, id, page.clone())
                })
                .await?;
            wake(self.release.devices, self.release.runs, settled.moved);
            match settled.next {
                Some(next) if !settled.is_over => page = PageRequest::new(Some(MAX_LIMIT), Some(next))?,
                _ => return Ok(()),
            }
        }
    }

    /// Takes back what had not begun when the rollout was given up.
    pub(super) async fn take_back(&self, context: &Context, id: BatchId) -> Result<()> {
        loop {
            let settled = self
                .release
                .store
                .change(context, Evidence::Audit(ROLLOUT_ABORT), |tx| take_back_step(tx, id))
                .await?;
            wake(self.release.devices, self.release.runs, settled.moved);
            if settled.is_over {
                return Ok(());
            }
        }
    }
}

async fn settle_step(mut tx: Tx, id: BatchId, page: PageRequest) -> Result<Settled> {
    let batch = existing(tx.reader(), id).await?;
    let Some(before) = tx.get::<Rollout>(id).await?.filter(|rollout| rollout.has_to_settle()) else {
        return Ok(Settled {
            is_over: true,
            ..Settled::default()
        });
    };
    let mut rollout = before.value.clone();
    let settled = settle_page(&mut tx, &batch, &mut rollout, &page).await?;
    // Whoever changes how it stands meanwhile goes first: then this is decided anew.
    tx.update(&before, &rollout)?;
    tx.subject::<Batch>(id, batch.operation.clone());
    tx.detail("holds", rollout.is_held());
    tx.detail("runs", settled.moved.len());
    tx.commit().await?;
    Ok(settled)
}

/// Makes a page of runs fit how a rollout stands; with the last page the rollout says so.
pub(super) async fn settle_page(
    tx: &mut Tx,
    batch: &Batch,
    rollout: &mut Rollout,
    page: &PageRequest,
) -> Result<Settled> {
    let holds = rollout.is_held();
    // Those that wait for a window would expire meanwhile, too.
    let states = [State::Queued, State::Scheduled].map(|state| state.name());
    let query = Query::<Run>::all()
        .filter(Run::BATCH.eq(batch.id.uuid()))
        .filter(Run::STATE.one_of(states));
    let found = tx.list(&query, page).await?;
    let mut settled = Settled {
        is_over: found.next.is_none(),
        next: found.next.clone(),
        ..Settled::default()
    };
    for run in &found.items {
        if settle_run(tx, batch, run, holds)? {
            settled.moved.push((run.id, run.device));
        }
    }
    if settled.is_over {
        rollout.holds_back = holds;
        if !holds && !rollout.held.is_empty() {
            // They are asked anew, and get their own time back.
            rollout.held_until = Some(tx.now());
        }
    }
    Ok(settled)
}

fn settle_run(tx: &mut Tx, batch: &Batch, before: &Versioned<Run>, holds: bool) -> Result<bool> {
    let mut run = before.value.clone();
    match run.state {
        State::Queued if run.on_hold != holds => {
            run.on_hold = holds;
            let time = match holds {
                true => TURN_WITHIN,
                false => batch.expiry(),
            };
            run.expires_at = tx.now().plus(time);
        }
        State::Scheduled if holds => run.expires_at = run.expires_at.max(batch.turn_until()),
        _ => {}
    }
    tx.update(before, &run)
}

async fn take_back_step(mut tx: Tx, id: BatchId) -> Result<Settled> {
    let batch = existing(tx.reader(), id).await?;
    let Some(before) = tx.get::<Rollout>(id).await?.filter(|rollout| rollout.takes_back) else {
        return Ok(Settled {
            is_over: true,
            ..Settled::default()
        });
    };
    let mut rollout = before.value.clone();
    let settled = take_back_page(&mut tx, &batch, &mut rollout).await?;
    tx.update(&before, &rollout)?;
    tx.subject::<Batch>(id, batch.operation.clone());
    tx.detail("runs", settled.moved.len());
    tx.commit().await?;
    Ok(settled)
}

/// Takes a page of what has not begun back; with the last page the rollout says so.
pub(super) async fn take_back_page(tx: &mut Tx, batch: &Batch, rollout: &mut Rollout) -> Result<Settled> {
    let states = [State::Draft, State::AwaitingApproval, State::Scheduled, State::Queued];
    let query = Query::<Run>::all()
        .filter(Run::BATCH.eq(batch.id.uuid()))
        .filter(Run::STATE.one_of(states.map(|state| state.name())));
    let found = tx.list(&query, &PageRequest::new(Some(MAX_LIMIT), None)?).await?;
    let (mut settled, actor) = (Settled::default(), tx.context().actor().clone());
    for before in &found.items {
        let mut run = before.value.clone();
        run.cancel_requested_at = Some(tx.now());
        let reason = Some("its rollout was given up".to_owned());
        step_run(tx, before, &mut run, &actor, Edge::Withdraw, reason)?;
        settled.moved.push((run.id, run.device));
    }
    settled.is_over = found.next.is_none();
    // Only when all runs are made can no further one come.
    rollout.takes_back = !(settled.is_over && batch.expanding_since.is_none());
    Ok(settled)
}
