//! What the command line says.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;

/// Where the server that is started keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// A database in a temporary folder.
    Sqlite,
    /// A folder of JSON files in a temporary folder.
    Json,
    /// A database of its own on the Postgres that FLEET_TEST_POSTGRES names; `cargo xtask bench` starts one.
    Postgres,
}

/// Many agents on one server, in one process: how many devices does it carry, and at what cost?
///
/// Without --token-file a server is started in a temporary folder and removed afterwards. With it, the agents enrol with the running server
/// that the token names; take one that you can throw away, since its devices stay. There --run needs --operator-url, and what the server costs is only
/// seen with --server-pid.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How many agents. Connected ones need an open file each, on either side
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub agents: u64,
    /// Agents connect to the server's own TLS port, each with its own certificate
    #[arg(long, conflicts_with = "plain")]
    pub tls: bool,
    /// Agents connect without TLS and sign their requests, as behind a proxy on the server's machine; the default
    #[arg(long)]
    pub plain: bool,
    /// Agents keep no connection: each beat is a short one, as where proxies break sockets
    #[arg(long)]
    pub poll: bool,
    /// The seconds between two beats of an agent [default: 30, and 60 with --poll]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub beat_seconds: Option<u64>,
    /// How long the steady state is measured
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Then one command to all agents (at most 10,000), by one request: how long until it is acknowledged
    #[arg(long)]
    pub run: bool,
    /// Then the server is killed and started again: how long until all are back
    #[arg(long, conflicts_with = "token_file")]
    pub storm: bool,
    /// How long it stays away then
    #[arg(long, default_value_t = 0, value_name = "SECONDS", requires = "storm", value_parser = clap::value_parser!(u64).range(0..=3_600))]
    pub down_seconds: u64,
    /// Agents report their inventory, with packages of a real distribution
    #[arg(long)]
    pub reports: bool,
    /// Beside it, what a bare server without any domain code takes for a beat, and for a command to all
    #[arg(long)]
    pub probe: bool,
    /// Print one JSON object on the last line
    #[arg(long)]
    pub json: bool,
    /// What the server that is started keeps its data in
    #[arg(long, default_value = "sqlite", conflicts_with = "token_file")]
    pub backend: Backend,
    /// The store of the server that is started, as the server itself takes it: sqlite:PATH, json:PATH or postgres://…
    #[arg(long, value_name = "URI", conflicts_with_all = ["token_file", "backend"])]
    pub storage: Option<String>,
    /// A file with the enrolment token of a running server; it has to have as many uses as there are agents
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The API of that server, for --run
    #[arg(long, value_name = "URL", requires = "token_file", requires = "operator_key_file")]
    pub operator_url: Option<String>,
    /// A file with an API key for it
    #[arg(long, value_name = "FILE", requires = "operator_url")]
    pub operator_key_file: Option<PathBuf>,
    /// The process of that server, when it runs on this machine: its CPU time and memory are measured
    #[arg(long, value_name = "PID", requires = "token_file")]
    pub server_pid: Option<u32>,
    /// Enrolments under way at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=512))]
    pub enrol_at_once: u64,
    /// New connections a second while the agents come for the first time
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub connect_per_second: u64,
    /// How long a run takes on a device, in milliseconds
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub work_millis: u64,
    /// Everything that is drawn follows from it: phases, skews, who fails
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Runs that fail on their device, in percent
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT", value_parser = percent)]
    pub failures: f64,
    /// Agents whose connection breaks each minute, and who come back, in percent
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT", value_parser = percent)]
    pub churn: f64,
    /// Clocks are off by up to so many seconds, either way
    #[arg(long, default_value_t = 0, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=315_360_000))]
    pub clock_skew: u64,
    /// Agents on slow networks, in percent
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT", value_parser = percent)]
    pub slow: f64,
    /// What those wait for before everything that they send, in milliseconds
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub slow_millis: u64,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=100.0).contains(&value) => Ok(value),
        _ => Err("0 to 100".into()),
    }
}

impl Arguments {
    /// The time between two beats.
    pub fn beat(&self) -> Duration {
        let default = if self.poll { 60 } else { 30 };
        Duration::from_secs(self.beat_seconds.unwrap_or(default))
    }

    /// Refuses what cannot be done, before anything is begun.
    pub fn check(&self) -> Result<()> {
        if self.run && self.agents > 10_000 {
            bail!("one request gives work to at most 10,000 devices: --run needs --agents 10000 or less");
        }
        if self.run && self.token_file.is_some() && self.operator_url.is_none() {
            bail!("--run on a running server needs --operator-url and --operator-key-file");
        }
        if self.storm && self.poll {
            bail!("--storm is about connections, and agents that poll keep none");
        }
        Ok(())
    }
}
