//! One command to all agents.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail};
use fleet_core::devices::DeviceId;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{agent::Agent, operator::Operator, shared::Swarm};

/// How long all results may take beyond the run itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long it took from the request on, in seconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Command {
    /// Until the request was answered: plan, batch and runs are durable.
    pub run_answered_seconds: f64,
    /// Until half of the agents, and all, had the offer and had verified it.
    pub run_offered_half_seconds: f64,
    pub run_offered_all_seconds: f64,
    /// Until the server had stored that half of the agents, and all, have accepted it, and had told them so.
    pub run_acknowledged_half_seconds: f64,
    pub run_acknowledged_all_seconds: f64,
    /// The same for the results; the work itself is in it.
    pub run_finished_half_seconds: f64,
    pub run_finished_all_seconds: f64,
}

/// Gives the work and waits for all results.
pub async fn command(swarm: &Swarm, operator: &Operator, agents: &[Arc<Agent>]) -> Result<Command> {
    let devices: Vec<DeviceId> = agents.iter().map(|agent| agent.device).collect();
    *swarm.tally.runs() = Default::default();
    let begun = Instant::now();
    let batch = operator.run(&devices).await?;
    let answered = begun.elapsed();
    let patience = PATIENCE + Duration::from_millis(swarm.arguments.work_millis) + swarm.arguments.beat();
    while swarm.tally.runs().finished.len() < agents.len() {
        if begun.elapsed() > patience {
            let runs = swarm.tally.runs().clone();
            bail!(
                "after {} s {} agents have the command, {} are acknowledged and {} results are stored, of {}; what went wrong: {:?}",
                patience.as_secs(),
                runs.offered.len(),
                runs.accepted.len(),
                runs.finished.len(),
                agents.len(),
                swarm.tally.troubles()
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
    let ended = operator.runs_in(&batch, "succeeded").await? + operator.runs_in(&batch, "failed").await?;
    if ended != agents.len() as u64 {
        bail!("{ended} of {} runs have ended as the server says", agents.len());
    }
    let runs = swarm.tally.runs().clone();
    let (offered, accepted, finished) = (
        times(runs.offered, begun),
        times(runs.accepted, begun),
        times(runs.finished, begun),
    );
    Ok(Command {
        run_answered_seconds: answered.as_secs_f64(),
        run_offered_half_seconds: offered.0,
        run_offered_all_seconds: offered.1,
        run_acknowledged_half_seconds: accepted.0,
        run_acknowledged_all_seconds: accepted.1,
        run_finished_half_seconds: finished.0,
        run_finished_all_seconds: finished.1,
    })
}

/// Until half of it, and all of it, had happened.
pub(super) fn times(mut at: Vec<Instant>, begun: Instant) -> (f64, f64) {
    at.sort_unstable();
    let seconds = |at: Option<&Instant>| at.map_or(0.0, |at| at.duration_since(begun).as_secs_f64());
    (
        seconds(at.get(at.len().div_ceil(2).saturating_sub(1))),
        seconds(at.last()),
    )
}
