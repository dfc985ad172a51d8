//! Stopping runs: one, or all that a device has still to do.

use serde::{Deserialize, Serialize};

use super::{Edge, Run, RunId, RunService, RunView, State, service::not_found, step_run};
use crate::{
    access::{Action, Context},
    devices::{self, Device, DeviceId},
    kernel::{EntityId as _, MAX_LIMIT, PageRequest, Result},
    store::{Evidence, Query, Tx, Versioned},
    work::RUNS_CANCEL,
};

/// Somebody asked to stop a run.
pub const RUN_CANCEL: Action = Action::new("run.cancel");
/// Somebody asked to stop all runs of a device.
pub const DEVICE_RUNS_CANCEL: Action = Action::new("device.runs.cancel");

/// How many runs were asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CancelledRuns {
    /// Those that ended at once, as no device had them, and those that end when their device hears of it.
    pub runs: u64,
}

impl RunService<'_> {
    /// Stops a run: at once when it is still here, otherwise as soon as its device hears of it. Stopping what has ended, or
    /// is being stopped, changes nothing.
    pub async fn cancel(&self, context: &Context, id: RunId) -> Result<RunView> {
        context.require(RUNS_CANCEL)?;
        let run = self
            .store
            .change(context, Evidence::Audit(RUN_CANCEL), |mut tx| async move {
                let before = tx.get::<Run>(id).await?.ok_or_else(|| not_found(id))?;
                let Some(run) = stop(&mut tx, &before, None)? else {
                    return Ok(before.value);
                };
                tx.subject::<Run>(id, format!("{} on {}", run.operation, run.device_name));
                tx.commit().await?;
                Ok(run)
            })
            .await?;
        self.devices.signal(run.device);
        self.runs.signal(id);
        Ok(run.into())
    }

    /// Stops all runs that a device has still to do or is at, whoever asked for them; other devices of their batches go on. Where it is
    /// interrupted, a part of them is stopped, and asking again stops the rest.
    pub async fn cancel_all_of(&self, context: &Context, device: DeviceId) -> Result<CancelledRuns> {
        context.require(RUNS_CANCEL)?;
        let open = Query::<Run>::all()
            .filter(Run::DEVICE.eq(device.uuid()))
            .filter(Run::STATE.one_of(State::OPEN.map(|state| state.name())));
        let (mut runs, mut page) = (0, PageRequest::new(Some(MAX_LIMIT), None)?);
        loop {
            let (stopped, next) = self
                .store
                .change(context, Evidence::Audit(DEVICE_RUNS_CANCEL), |mut tx| {
                    let (open, page) = (open.clone(), page.clone());
                    async move {
                        let found = tx.get::<Device>(device).await?;
                        let name = found.ok_or_else(|| devices::not_found(device))?.value.name;
                        let found = tx.list(&open, &page).await?;
                        let mut stopped = Vec::new();
                        for before in &found.items {
                            if stop(&mut tx, before, Some("all runs of its device were stopped"))?.is_some() {
                                stopped.push(before.id);
                            }
                        }
                        if !stopped.is_empty() {
                            tx.subject::<Device>(device, name);
                            tx.detail("runs", stopped.len());
                            tx.commit().await?;
                        }
                        Ok((stopped, found.next))
                    }
                })
                .await?;
            runs += stopped.len() as u64;
            if !stopped.is_empty() {
                self.devices.signal(device);
            }
            for run in stopped {
                self.runs.signal(run);
            }
            match next {
                Some(next) => page = PageRequest::new(Some(MAX_LIMIT), Some(next))?,
                None => return Ok(CancelledRuns { runs }),
            }
        }
    }
}

/// Stops a run inside a change: at once where no device has it; otherwise its device is to hear of it. Nothing where it has ended or is
/// being stopped.
pub(crate) fn stop(tx: &mut Tx, before: &Versioned<Run>, reason: Option<&str>) -> Result<Option<Run>> {
    let mut run = before.value.clone();
    if run.state.is_terminal() || run.cancel_requested_at.is_some() {
        return Ok(None);
    }
    run.cancel_requested_at = Some(tx.now());
    if run.state.is_with_device() {
        tx.update(before, &run)?;
    } else {
        let actor = tx.context().actor().clone();
        step_run(tx, before, &mut run, &actor, Edge::Withdraw, reason.map(str::to_owned))?;
    }
    Ok(Some(run))
}
