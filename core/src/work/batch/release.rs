//! Lets runs go that waited for their time, for somebody to agree or for a window: step by step, each a commit of its own.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{BATCH_RELEASE, Batch, BatchId, cancel::wake, service::existing};
use crate::{
    Fleet,
    access::Context,
    devices::{DeviceId, device::DeviceSummary, presence::PresenceBoard},
    kernel::{EntityId as _, MAX_LIMIT, PageRequest, PageToken, Result, Timestamp},
    live::Signals,
    store::{Direction, Evidence, Filter, Query, Store, Tx, Value, Versioned},
    work::{
        OperationKind, Operations, State,
        run::{Edge, Run, RunId, event, move_run},
        windows::{Question, WindowDecision, WindowHandling, WindowSet, WindowStanding, windows_that_count},
    },
};

/// Batches that one tick of the job looks for.
const BATCHES: usize = 20;

/// States of runs that were not let go.
const WAITING: [State; 2] = [State::AwaitingApproval, State::Scheduled];

/// The windows for which waiting batches were looked at last, by this process.
#[derive(Debug, Default)]
pub(crate) struct WindowsSeen(Mutex<Option<blake3::Hash>>);

/// Lets the runs of batches go whose time has come.
pub(crate) async fn release_due(fleet: Fleet) -> Result<()> {
    let context = Context::system("work.release");
    look_again(&fleet, &context).await?;
    let page = PageRequest::new(Some(BATCHES), None)?;
    let due = due(fleet.clock().now());
    for batch in fleet.store().reader().await?.list(&due, &page).await?.items {
        try_to_let_go(&fleet, &context, batch.id).await;
    }
    Ok(())
}

/// Asks windows again for all that waits for one, where windows were changed since: one that was lifted must not hold work until its
/// former end.
async fn look_again(fleet: &Fleet, context: &Context) -> Result<()> {
    let now = fleet.clock().now();
    let print = fleet.windows().all().await?.fingerprint();
    if *fleet.windows_seen().lock() == Some(print) {
        return Ok(());
    }
    let later = Filter::Range(
        Batch::RELEASE_AT.name(),
        Some(Value::Int(now.as_micros().saturating_add(1))),
        None,
    );
    let query = Query::<Batch>::all()
        .filter(later)
        .order(Batch::RELEASE_AT, Direction::Ascending);
    let mut page = PageRequest::new(Some(MAX_LIMIT), None)?;
    loop {
        let found = fleet.store().reader().await?.list(&query, &page).await?;
        for batch in found.items.iter().filter(|batch| batch.has_begun(now)) {
            try_to_let_go(fleet, context, batch.id).await;
        }
        match found.next {
            Some(next) => page = PageRequest::new(Some(MAX_LIMIT), Some(next))?,
            None => break,
        }
    }
    *fleet.windows_seen().lock() = Some(print);
    Ok(())
}

async fn try_to_let_go(fleet: &Fleet, context: &Context, id: BatchId) {
    if let Err(error) = fleet.release().let_go(context, id).await {
        // The next tick tries again; the others need not wait for it.
        tracing::warn!(batch = %id, error = error.log(), "its runs are not all let go yet");
    }
}

impl WindowsSeen {
    /// Notes windows, and gives back those that were noted before.
    pub(crate) fn replace(&self, print: blake3::Hash) -> Option<blake3::Hash> {
        self.lock().replace(print)
    }

    fn lock(&self) -> MutexGuard<'_, Option<blake3::Hash>> {
        // One assignment: it is never left half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        .order(Batch::RELEASE_TURN, Direction::Ascending)
}

/// Lets runs go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Release<'a> {
    pub(crate) store: &'a Store,
    pub(crate) operations: &'a Operations,
    pub(crate) presence: &'a PresenceBoard,
    pub(crate) devices: &'a Signals<DeviceId>,
    pub(crate) runs: &'a Signals<RunId>,
}

/// What became of a run whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LetIn {
    /// It may begin, or ended here because no window opens any more.
    Goes,
    /// It waits for its share of the time or for a window, until then at least.
    Waits(Timestamp),
    /// There is no room for it, or for somebody in front of it: nothing was changed.
    Full,
    /// It does not wait any more: somebody stopped it, for example.
    Gone,
}

/// What a step came to.
#[derive(Debug, Default)]
pub(crate) struct Released {
    /// Runs that may begin, or that ended here.
    pub(crate) moved: Vec<(RunId, DeviceId)>,
    /// Where the walk goes on.
    pub(crate) next: Option<PageToken>,
    /// When the first of those that still wait may begin.
    waits_until: Option<Timestamp>,
}

impl Release<'_> {
    /// What windows say, as far as a batch heeds them.
    pub(crate) async fn windows(&self, batch: &Batch) -> Result<WindowSet> {
        match batch.ignores_windows {
            true => Ok(WindowSet::default()),
            false => windows_that_count(&mut self.store.reader().await?).await,
        }
    }

    /// Lets the waiting runs of a batch go, if its time has come.
    pub(crate) async fn let_go(&self, context: &Context, id: BatchId) -> Result<()> {
        let batch = existing(&mut self.store.reader().await?, id).await?;
        let windows = &self.windows(&batch).await?;
        // Only then can no further run come behind the walk.
        let is_complete = batch.expanding_since.is_none();
        let (mut page, mut waits_until) = (PageRequest::new(Some(MAX_LIMIT), None)?, None);
        loop {
            let released = self
                .store
                .change(context, Evidence::Observed, |mut tx| {
                    let page = page.clone();
                    async move {
                        let before = existing(tx.reader(), id).await?;
                        let mut batch = before.value.clone();
                        if !batch.has_begun(tx.now()) {
                            return Ok(Released::default());
                        }
                        let released = self.step(&mut tx, &batch, windows, &page).await?;
                        if released.next.is_none() && is_complete {
                            batch.release_at = earliest(waits_until, released.waits_until);
                        }
                        // Whoever stops the batch meanwhile goes first: then this is decided anew.
                        if tx.update(&before, &batch)? {
                            tx.subject::<Batch>(id, batch.operation);
                            tx.detail("runs", batch.runs);
                            tx.account(context, BATCH_RELEASE)?;
                        }
                        tx.commit().await?;
                        Ok(released)
                    }
                })
                .await?;
            wake(self.devices, self.runs, released.moved);
            waits_until = earliest(waits_until, released.waits_until);
            match released.next {
                Some(next) => page = PageRequest::new(Some(MAX_LIMIT), Some(next))?,
                None => return Ok(()),
            }
        }
    }

    /// The first step of a batch whose time is set by the change that `tx` is: where it is the last one, too, the batch is told.
    pub(crate) async fn first(&self, tx: &mut Tx, batch: &mut Batch, windows: &WindowSet) -> Result<Released> {
        if !batch.has_begun(tx.now()) {
            return Ok(Released::default());
        }
        let page = PageRequest::new(Some(MAX_LIMIT), None)?;
        let released = self.step(tx, batch, windows, &page).await?;
        if released.next.is_none() && batch.expanding_since.is_none() {
            batch.release_at = released.waits_until;
        }
        Ok(released)
    }

    async fn step(&self, tx: &mut Tx, batch: &Batch, windows: &WindowSet, page: &PageRequest) -> Result<Released> {
        let kind = self.operations.kind(&batch.operation)?;
        // What waits for its wave has nothing to hear.
        let states = match batch.rolls_out {
            true => &WAITING[..1],
            false => &WAITING[..],
        };
        let query = Query::<Run>::all()
            .filter(Run::BATCH.eq(batch.id.uuid()))
            .filter(Run::STATE.one_of(states.iter().map(|state| state.name())));
        let found = tx.list(&query, page).await?;
        let waiting: Vec<_> = found.items.iter().collect();
        let decisions = decide(tx, windows, kind, &waiting).await?;
        let mut released = Released {
            next: found.next.clone(),
            ..Released::default()
        };
        for (before, decision) in waiting.into_iter().zip(decisions) {
            if batch.rolls_out {
                schedule(tx, batch, before)?;
                continue;
            }
            match self.release(
                tx,
                batch,
                before,
                decision,
                batch.begins_at(batch.base(), before.device),
            )? {
                Some(until) => released.waits_until = earliest(released.waits_until, Some(until)),
                None => released.moved.push((before.id, before.device)),
            }
        }
        Ok(released)
    }

    /// Lets runs go whose turn it is, at most `room` of them; what is spread is so from `base` on.
    pub(crate) async fn let_in(
        &self,
        tx: &mut Tx,
        batch: &Batch,
        base: Timestamp,
        windows: &WindowSet,
        runs: &[Versioned<Run>],
        room: u32,
    ) -> Result<Vec<LetIn>> {
        let kind = self.operations.kind(&batch.operation)?;
        let all: Vec<_> = runs.iter().collect();
        let decisions = decide(tx, windows, kind, &all).await?;
        let (mut answers, mut room) = (Vec::with_capacity(runs.len()), room);
        for (before, decision) in all.into_iter().zip(decisions) {
            let begins_at = batch.begins_at(base, before.device);
            let may_begin = begins_at <= tx.now() && decision.as_ref().is_none_or(may_begin);
            // Nobody overtakes those in front of them.
            let is_full = answers.last() == Some(&LetIn::Full) || (may_begin && room == 0);
            answers.push(if is_full {
                LetIn::Full
            } else if !WAITING.contains(&before.state) {
                LetIn::Gone
            } else {
                match self.release(tx, batch, before, decision, begins_at)? {
                    Some(until) => LetIn::Waits(until),
                    None => {
                        room = room.saturating_sub(u32::from(may_begin));
                        LetIn::Goes
                    }
                }
            });
        }
        Ok(answers)
    }

    /// Lets a run go, or has it wait for its share of the time or for a window: until when.
    fn release(
        &self,
        tx: &mut Tx,
        batch: &Batch,
        before: &Versioned<Run>,
        decision: Option<WindowDecision>,
        begins_at: Timestamp,
    ) -> Result<Option<Timestamp>> {
        let (mut run, actor) = (before.value.clone(), tx.context().actor().clone());
        let expiry = batch.expiry();
        if run.state == State::AwaitingApproval {
            move_run(tx, &mut run, &actor, Edge::Schedule, None)?;
        }
        if begins_at > tx.now() {
            run.expires_at = begins_at.plus(expiry);
            tx.update(before, &run)?;
            return Ok(Some(begins_at));
        }
        let handling = decision
            .as_ref()
            .map_or(WindowHandling::Run, |decision| decision.handling);
        let reason = decision.as_ref().map(|decision| decision.reason.clone());
        let until = match (handling, decision.map(|decision| decision.standing)) {
            (WindowHandling::Run, _) => {
                run.expires_at = tx.now().plus(expiry);
                move_run(tx, &mut run, &actor, Edge::Release, None)?;
                self.skip_offline(tx, batch, &mut run)?;
                None
            }
            (WindowHandling::RunNoted, _) => {
                run.expires_at = tx.now().plus(expiry);
                move_run(tx, &mut run, &actor, Edge::Release, reason)?;
                self.skip_offline(tx, batch, &mut run)?;
                None
            }
            (handling, Some(WindowStanding::Closed { until })) => {
                run.expires_at = match handling {
                    WindowHandling::WaitAtMost { give_up_after_seconds } => {
                        let give_up = begins_at.plus(Duration::from_secs(u64::from(give_up_after_seconds)));
                        give_up.min(until.plus(expiry))
                    }
                    _ => until.plus(expiry),
                };
                if run.expires_at != before.expires_at || run.state != before.state {
                    event(tx, &run, &actor, run.state, run.state, reason)?;
                }
                Some(until)
            }
            // No window opens any more.
            (_, _) => {
                move_run(tx, &mut run, &actor, Edge::Expire, reason)?;
                None
            }
        };
        tx.update(before, &run)?;
        Ok(until)
    }

    /// Ends a run that may begin and does not wait for its device, where that is offline.
    fn skip_offline(&self, tx: &mut Tx, batch: &Batch, run: &mut Run) -> Result<()> {
        match batch.skips(self.presence, run.device) {
            true => skip(tx, run),
            false => Ok(()),
        }
    }
}

fn may_begin(decision: &WindowDecision) -> bool {
    matches!(decision.handling, WindowHandling::Run | WindowHandling::RunNoted)
}

/// Somebody agreed to a run, which waits for its wave now.
fn schedule(tx: &mut Tx, batch: &Batch, before: &Versioned<Run>) -> Result<()> {
    let (mut run, actor) = (before.value.clone(), tx.context().actor().clone());
    if run.state == State::AwaitingApproval {
        run.expires_at = batch.turn_until();
        move_run(tx, &mut run, &actor, Edge::Schedule, None)?;
        tx.update(before, &run)?;
    }
    Ok(())
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// What windows say of each run; nothing where there are none.
async fn decide(
    tx: &mut Tx,
    windows: &WindowSet,
    kind: &OperationKind,
    waiting: &[&Versioned<Run>],
) -> Result<Vec<Option<WindowDecision>>> {
    if windows.is_empty() {
        return Ok(vec![None; waiting.len()]);
    }
    let ids: Vec<_> = waiting.iter().map(|run| run.device).collect();
    let summaries = tx.reader().get_many::<DeviceSummary>(&ids).await?;
    let at = tx.now();
    let decide = |summary: Option<Versioned<DeviceSummary>>| {
        summary.map(|device| {
            windows.decide(&Question {
                device: device.id,
                groups: &device.groups,
                operation: kind.name,
                lane: kind.lane,
                at,
            })
        })
    };
    Ok(summaries.into_iter().map(decide).collect())
}

/// Ends a run whose device is offline and for which it was not to wait.
pub(super) fn skip(tx: &mut Tx, run: &mut Run) -> Result<()> {
    let actor = tx.context().actor().clone();
    move_run(tx, run, &actor, Edge::Skip, Some("its device is offline".to_owned()))?;
    Ok(())
}
