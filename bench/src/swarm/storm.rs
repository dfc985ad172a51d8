//! The server is killed under its agents, and started again.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{enrol::until_back, operator::Operator, server::Server, shared::Swarm};

/// How long the return of all may take before it has failed.
const PATIENCE: Duration = Duration::from_secs(180);
/// Lists are looked at for so long after all are back: who is wrongly shown offline is shown by then.
const AFTER: Duration = Duration::from_secs(6);

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Storm {
    /// From its start until the server took requests.
    pub restart_seconds: f64,
    /// From there until the first beat of the last agent was acknowledged.
    pub reconnect_seconds: f64,
    /// The most devices that a list showed as offline at any second.
    pub shown_offline: u64,
    /// The most attempts of one agent within ten seconds.
    pub most_attempts_in_10_seconds: u64,
    /// Connections that were tried, and did not become sessions.
    pub failed_attempts: u64,
}

/// Kills, starts again, and waits until all are back.
pub async fn storm(swarm: &Swarm, server: &mut Server, operator: &Operator) -> Result<Storm> {
    swarm.begin_return();
    swarm.tally.most_attempts.store(0, Relaxed);
    swarm.storming.store(true, Relaxed);
    let before: u64 = swarm.tally.troubles().values().sum();
    server.kill();
    sleep(Duration::from_secs(swarm.arguments.down_seconds)).await;
    let started = Instant::now();
    server.again()?;
    let restarted = Instant::now();
    let mut shown_offline = 0;
    let look = async {
        loop {
            sleep(Duration::from_secs(1)).await;
            // While all come back it may be too busy for us.
            if let Ok(counts) = operator.counts().await {
                shown_offline = shown_offline.max(counts.offline);
            }
        }
    };
    let back = async {
        let back = until_back(swarm, PATIENCE).await;
        sleep(AFTER).await;
        back
    };
    let reconnect = tokio::select! {
        back = back => back.context("after the server was killed")?,
        () = look => Duration::ZERO,
    };
    swarm.storming.store(false, Relaxed);
    // Each agent's session broke once.
    let after: u64 = swarm.tally.troubles().values().sum();
    Ok(Storm {
        restart_seconds: restarted.duration_since(started).as_secs_f64(),
        reconnect_seconds: reconnect.as_secs_f64(),
        shown_offline,
        most_attempts_in_10_seconds: swarm.tally.most_attempts.load(Relaxed),
        failed_attempts: (after - before).saturating_sub(swarm.arguments.agents),
    })
}
