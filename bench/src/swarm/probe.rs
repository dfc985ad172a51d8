//! What a bare server takes for a beat, just now on this machine.

use std::{
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::{agent::Agent, arguments::Arguments, shared::Swarm};
use crate::{child::Service, fixture, generator::Sample};

/// Connections of the probe.
const AGENTS: usize = 512;
/// How long it is measured.
const SECONDS: &str = "5";

/// The bare server, at its limit.
#[derive(Clone, Debug, Serialize)]
pub struct Probe {
    pub probe_beats_per_second: f64,
    pub probe_micros_per_beat: f64,
}

/// Lets the first agents beat on the probe, as fast as it answers.
pub fn measure(arguments: &Arguments, agents: &[Arc<Agent>], swarm: &Swarm, folder: &Path) -> Result<Probe> {
    let known: Vec<_> = agents
        .iter()
        .take(AGENTS)
        .map(|agent| fixture::Agent {
            device: agent.device,
            key: agent.key.clone(),
            server: swarm.target.identity,
        })
        .collect();
    let (file, data) = (folder.join("probe-agents"), folder.join("probe"));
    fixture::keep(&known, &file)?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&data)?;
    let own = std::env::current_exe()?;
    let mut service = Service::start(
        Command::new(&own).args(["probe", "--data"]).arg(&data),
        &folder.join("probe.log"),
    )?;
    let address = service.address()?;
    let mode = if arguments.poll { "probe-poll" } else { "probe-socket" };
    let output = Command::new(&own)
        .args(["generate", "--mode", mode, "--address", &address, "--agents"])
        .arg(&file)
        .args([
            "--seconds",
            SECONDS,
            "--warm-up-seconds",
            "1",
            "--server",
            &service.pid().to_string(),
        ])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("the probe failed; its log ends with\n{}", service.tail());
    }
    let sample: Sample = serde_json::from_slice(&output.stdout).context("what the generator printed")?;
    service.stop()?;
    Ok(Probe {
        probe_beats_per_second: sample.rate,
        probe_micros_per_beat: sample.server.total() * 1e6 / (sample.rate * sample.seconds),
    })
}
