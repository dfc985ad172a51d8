//! Reading runs.

use serde::{Deserialize, Serialize};

use super::{Edge, Run, RunEvent, RunId, RunView, State, Step};
use crate::{
    access::{Actor, Context},
    devices::DeviceId,
    kernel::{Class, Code, EntityId, Error, Page, PageRequest, Result, Timestamp},
    live::Signals,
    store::{Direction, Field, LaneQuery, Query, Store, Tx, Versioned},
    work::{BatchId, RUNS_READ, desired::ActionId},
};

/// There is no such run.
pub const RUN_NOT_FOUND: Code = Code::new("run.not_found", Class::NotFound);

/// Which runs are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFilter {
    /// Only of this device.
    pub device: Option<DeviceId>,
    /// Only of this batch.
    pub batch: Option<BatchId>,
    /// Only in one of these states.
    pub states: Vec<State>,
    /// Only of this kind of operation.
    pub operation: Option<String>,
    /// Only those that devices began by themselves for this action.
    pub action: Option<ActionId>,
    /// Only those that were created in this time.
    pub created: Period,
    /// Only those that ended in this time.
    pub finished: Period,
}

/// A time: from a moment on, and before another; without bound where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
}

impl Period {
    /// A column has a time in it.
    fn holds(self, mut query: Query<Run>, column: Field<Run>) -> Query<Run> {
        if let Some(from) = self.from {
            query = query.filter(column.at_least(from));
        }
        match self.to {
            Some(to) => query.filter(column.below(to)),
            None => query,
        }
    }
}

/// How many runs have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunCounts {
    /// Those that wait for approval, for their time or for their device.
    pub waiting: u64,
    /// Those that were offered to their device and have not ended.
    pub under_way: u64,
}

/// Reads and cancels runs.
#[derive(Debug)]
pub struct RunService<'a> {
    pub(super) store: &'a Store,
    pub(super) devices: &'a Signals<DeviceId>,
    pub(super) runs: &'a Signals<RunId>,
}

impl<'a> RunService<'a> {
    pub(crate) fn new(store: &'a Store, devices: &'a Signals<DeviceId>, runs: &'a Signals<RunId>) -> Self {
        Self { store, devices, runs }
    }

    /// A page of runs, newest first.
    pub async fn list(&self, context: &Context, filter: &RunFilter, page: &PageRequest) -> Result<Page<RunView>> {
        context.require(RUNS_READ)?;
        let query = query(filter);
        let page = self.store.reader().await?.list(&query, page).await?;
        Ok(page.map(|run| run.value.into()))
    }

    /// How many runs a filter matches.
    pub async fn count(&self, context: &Context, filter: &RunFilter) -> Result<u64> {
        context.require(RUNS_READ)?;
        self.store.reader().await?.count::<Run>(query(filter).filters()).await
    }

    /// How many runs have not ended; those that have are not looked at.
    pub async fn counts(&self, context: &Context) -> Result<RunCounts> {
        context.require(RUNS_READ)?;
        let mut reader = self.store.reader().await?;
        let mut count = async |states: &[State]| {
            let filter = Run::STATE.one_of(states.iter().map(|state| state.name()));
            reader.count::<Run>(&filter).await
        };
        Ok(RunCounts {
            waiting: count(&[State::AwaitingApproval, State::Scheduled, State::Queued]).await?,
            under_way: count(&[State::Offered, State::Accepted, State::Running]).await?,
        })
    }

    /// One run and its revision.
    pub async fn show(&self, context: &Context, id: RunId) -> Result<(RunView, u64)> {
        context.require(RUNS_READ)?;
        let run = self.store.get::<Run>(id).await?.ok_or_else(|| not_found(id))?;
        Ok((run.value.into(), run.rev))
    }

    /// What happened to a run, oldest first.
    pub async fn events(&self, context: &Context, id: RunId, page: &PageRequest) -> Result<Page<RunEvent>> {
        context.require(RUNS_READ)?;
        let mut reader = self.store.reader().await?;
        reader.get::<Run>(id).await?.ok_or_else(|| not_found(id))?;
        reader
            .rows(&LaneQuery::<RunEvent>::oldest_first().stream(id.uuid()), page)
            .await
    }
}

/// The list that a filter asks for.
fn query(filter: &RunFilter) -> Query<Run> {
    let mut query = Query::<Run>::all().order(Run::CREATED_AT, Direction::Descending);
    if let Some(device) = filter.device {
        query = query.filter(Run::DEVICE.eq(device.uuid()));
    }
    if let Some(batch) = filter.batch {
        query = query.filter(Run::BATCH.eq(batch.uuid()));
    }
    if !filter.states.is_empty() {
        query = query.filter(Run::STATE.one_of(filter.states.iter().map(|state| state.name())));
    }
    if let Some(operation) = &filter.operation {
        query = query.filter(Run::OPERATION.eq(operation.as_str()));
    }
    if let Some(action) = filter.action {
        query = query.filter(Run::ACTION.eq(action.uuid()));
    }
    let query = filter.created.holds(query, Run::CREATED_AT);
    filter.finished.holds(query, Run::FINISHED_AT)
}

pub(crate) fn not_found(id: RunId) -> Error {
    RUN_NOT_FOUND.error(format!("there is no run {id}"))
}

/// Moves a run inside a change: the document and its event in one commit. A repeat changes nothing.
pub(crate) fn step_run(
    tx: &mut Tx,
    before: &Versioned<Run>,
    run: &mut Run,
    actor: &Actor,
    edge: Edge,
    reason: Option<String>,
) -> Result<Step> {
    let step = move_run(tx, run, actor, edge, reason)?;
    if matches!(step, Step::To(_)) {
        tx.update(before, run)?;
    }
    Ok(step)
}

/// Moves a run along an edge, with its event. The document is still to be updated, once for all its moves of this change.
pub(crate) fn move_run(tx: &mut Tx, run: &mut Run, actor: &Actor, edge: Edge, reason: Option<String>) -> Result<Step> {
    let from = run.state;
    let step = run.step(edge, tx.now());
    if let Step::To(to) = step {
        event(tx, run, actor, from, to, reason)?;
    }
    Ok(step)
}

/// Appends the event of a move, or of an offer that is repeated.
pub(crate) fn event(
    tx: &mut Tx,
    run: &Run,
    actor: &Actor,
    from: State,
    to: State,
    reason: Option<String>,
) -> Result<()> {
    let at = tx.now();
    let event = RunEvent {
        run: run.id,
        device: run.device,
        batch: run.batch,
        from,
        to,
        at,
        actor: actor.clone(),
        reason,
    };
    // Moves and repeated offers of one moment stand in the order in which they happen.
    let number = ((to as u32) << 16) | (run.delivery.attempts & 0xffff);
    tx.append(run.id.uuid(), at, number, &event)
}
