//! The steady state: agents beat, and what that costs the server.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use anyhow::Result;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::shared::Swarm;
use crate::{
    figures::quantile,
    machine::{self, Cpu},
};

/// How long memory and CPU of a server are left alone before they are looked at.
const SETTLE: Duration = Duration::from_secs(3);

/// What was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Steady {
    /// Acknowledged, while it was measured.
    pub beats_per_second: f64,
    /// Of the server, of one core; null where its process is not known.
    pub cpu_percent: Option<f64>,
    /// Of the server, of one core, in the kernel.
    pub cpu_system_percent: Option<f64>,
    /// The most memory of the server at any look.
    pub rss_mb: Option<f64>,
    /// From sending to acknowledgement.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// Of this process, of one core.
    pub generator_cpu_percent: f64,
    pub generator_rss_mb: f64,
}

/// Memory of a process in kB, when it has calmed down.
pub async fn calm_memory(pid: Option<u32>) -> Result<Option<u64>> {
    sleep(SETTLE).await;
    pid.map(|pid| Ok(machine::memory(pid)?.resident)).transpose()
}

/// Measures for as long as was asked for.
pub async fn measure(swarm: &Swarm, pid: Option<u32>) -> Result<Steady> {
    let own = std::process::id();
    let cpu = |pid: Option<u32>| pid.map(machine::cpu).transpose();
    let before = (cpu(pid)?, machine::cpu(own)?, swarm.tally.beats.load(Relaxed));
    swarm.tally.take_beats();
    let begun = Instant::now();
    let window = Duration::from_secs(swarm.arguments.seconds);
    let mut most = None;
    while begun.elapsed() < window {
        sleep(Duration::from_secs(1).min(window.saturating_sub(begun.elapsed()))).await;
        most = most.max(
            pid.map(|pid| machine::memory(pid).map(|memory| memory.resident))
                .transpose()?,
        );
    }
    let seconds = begun.elapsed().as_secs_f64();
    let millis = swarm.tally.take_beats();
    let used = cpu(pid)?.zip(before.0).map(|(now, before)| now.since(before));
    let percent = |cpu: Cpu| cpu.total() * 100.0 / seconds;
    Ok(Steady {
        beats_per_second: (swarm.tally.beats.load(Relaxed) - before.2) as f64 / seconds,
        cpu_percent: used.map(percent),
        cpu_system_percent: used.map(|cpu| cpu.system * 100.0 / seconds),
        rss_mb: most.map(|kilobytes| kilobytes as f64 / 1024.0),
        p50_ms: quantile(millis.clone(), 0.5),
        p99_ms: quantile(millis.clone(), 0.99),
        max_ms: quantile(millis, 1.0),
        generator_cpu_percent: percent(machine::cpu(own)?.since(before.1)),
        generator_rss_mb: machine::memory(own)?.resident as f64 / 1024.0,
    })
}
