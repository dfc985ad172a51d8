//! Many agents at once, as a process of its own. What can be done beforehand (connecting, saying hello, proving) is done before
//! the clock runs.

mod beater;
pub mod wire;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Barrier,
    time::{Instant, sleep_until},
};

pub use beater::Mode;

use crate::{
    fixture::{self, Agent},
    machine::{self, Cpu},
};
use beater::Beater;

/// Threads: as many as the published figures were measured with.
const THREADS: usize = 2;
/// More proved requests than the warm-up, which signs as it goes, lets expect.
const AHEAD: f64 = 2.5;

/// Starts the generator.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where the server is.
    #[arg(long)]
    address: SocketAddr,
    /// What it is.
    #[arg(long)]
    mode: Mode,
    /// The file with the agents; each has a connection.
    #[arg(long)]
    agents: PathBuf,
    /// How long to measure.
    #[arg(long)]
    seconds: u64,
    /// How long to beat before that.
    #[arg(long)]
    warm_up_seconds: u64,
    /// The server's process, to read its CPU time.
    #[arg(long)]
    server: u32,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Acknowledged beats a second.
    pub rate: f64,
    /// All acknowledged beats, with those of the warm-up.
    pub beats: u64,
    /// From sending to acknowledgement, in milliseconds.
    pub p50_ms: f64,
    /// From sending to acknowledgement, in milliseconds.
    pub p99_ms: f64,
    /// The server's CPU time while it was measured.
    pub server: Cpu,
    /// The generator's own.
    pub generator: Cpu,
    /// How long it was measured, in seconds.
    pub seconds: f64,
    /// Requests that were proved while it was measured: more than a few make the figure too small.
    pub proved_late: u64,
}

/// Runs, and prints the sample as one line of JSON.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()?;
    let agents = fixture::read(&arguments.agents)?;
    let sample = runtime.block_on(measure(arguments, agents))?;
    println!("{}", serde_json::to_string(&sample)?);
    Ok(())
}

/// The beats of one agent.
#[derive(Default)]
struct Beats {
    warm_up: u64,
    micros: Vec<u32>,
    late: u64,
}

async fn measure(arguments: &Arguments, agents: Vec<Agent>) -> Result<Sample> {
    let (mode, address) = (arguments.mode, arguments.address);
    let open = agents.into_iter().map(|agent| Beater::open(mode, agent, address));
    let beaters = try_join_all(open).await.context("opening the connections")?;
    let count = beaters.len();
    let (warm_up, window) = (
        Duration::from_secs(arguments.warm_up_seconds),
        Duration::from_secs(arguments.seconds),
    );
    let ready = Arc::new(Barrier::new(count + 1));
    let tasks: Vec<_> = beaters
        .into_iter()
        .map(|beater| tokio::spawn(drive(beater, warm_up, window, ready.clone())))
        .collect();
    // One that fails keeps the others waiting at the barrier: whoever fails first is heard.
    let all = try_join_all(tasks.into_iter().map(|task| async { task.await? }));
    let watch = async {
        ready.wait().await;
        let begun = Instant::now();
        let before = (machine::cpu(arguments.server)?, machine::cpu(std::process::id())?);
        sleep_until(begun + window).await;
        let server = machine::cpu(arguments.server)?.since(before.0);
        let generator = machine::cpu(std::process::id())?.since(before.1);
        Ok((server, generator))
    };
    let (beats, (server, generator)) = tokio::try_join!(all, watch)?;
    let seconds = window.as_secs_f64();
    let mut micros: Vec<u32> = beats.iter().flat_map(|beats| &beats.micros).copied().collect();
    micros.sort_unstable();
    Ok(Sample {
        rate: micros.len() as f64 / seconds,
        beats: micros.len() as u64 + beats.iter().map(|beats| beats.warm_up).sum::<u64>(),
        p50_ms: percentile(&micros, 50),
        p99_ms: percentile(&micros, 99),
        server,
        generator,
        seconds,
        proved_late: beats.iter().map(|beats| beats.late).sum(),
    })
}

async fn drive(mut beater: Beater, warm_up: Duration, window: Duration, ready: Arc<Barrier>) -> Result<Beats> {
    let mut beats = Beats::default();
    let until = Instant::now() + warm_up;
    // The first one brings the device online, which is a commit of its own.
    beater.beat().await?;
    beats.warm_up += 1;
    while Instant::now() < until {
        beater.beat().await?;
        beats.warm_up += 1;
    }
    let expected = beats.warm_up as f64 * window.as_secs_f64() / warm_up.as_secs_f64().max(0.1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small positive estimate"
    )]
    beater.prepare((expected * AHEAD) as usize + 10);
    beater.late = 0;
    ready.wait().await;
    let until = Instant::now() + window;
    loop {
        let sent = Instant::now();
        beater.beat().await?;
        let now = Instant::now();
        if now > until {
            beats.late = beater.late;
            return Ok(beats);
        }
        beats
            .micros
            .push(u32::try_from((now - sent).as_micros()).unwrap_or(u32::MAX));
    }
}

/// By nearest rank, in milliseconds; zero of nothing.
fn percentile(sorted_micros: &[u32], percent: usize) -> f64 {
    let rank = (sorted_micros.len() * percent).div_ceil(100).max(1) - 1;
    sorted_micros
        .get(rank)
        .map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let micros: Vec<u32> = (1..=200).map(|n| n * 1_000).collect();
        assert_eq!(percentile(&micros, 50), 100.0);
        assert_eq!(percentile(&micros, 99), 198.0);
        assert_eq!(percentile(&[5_000], 99), 5.0);
        assert_eq!(percentile(&[], 50), 0.0);
    }
}
