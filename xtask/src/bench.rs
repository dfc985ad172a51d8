//! The measured targets: builds what people would install, and lets `fleet-bench` measure it.

use std::{
    collections::BTreeSet,
    process::{ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::{postgres::Cluster, workspace::Workspace};

/// The most seconds from the server's start to the first inventory, once everything is built.
const UP_GATE: f64 = 60.0;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Durable heartbeats a second, beside a bare server.
    Heartbeats,
    /// Memory and CPU of an idle agent.
    Agent,
    /// Seconds from nothing to the first inventory.
    Up,
    /// Heartbeats and commits a second on each backend, beside the bare engine.
    Storage,
    /// New manifests for a fleet of 10,000 devices, and one device among a thousand groups.
    Desired,
    /// Lists, counts and packages of a fleet of 10,000 devices.
    Lists,
    /// A fleet of 10,000 devices from backend to backend and back.
    Moves,
    /// Many agents on one server: 10,000 by TLS, a command to all, a crash, when nothing else is asked for.
    Swarm,
}

impl Target {
    /// What has to be built for it.
    const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Storage | Self::Desired | Self::Lists => &["fleet-bench"],
            Self::Moves => &["fleet-bench", "migrate-storage"],
            Self::Swarm => &["fleet-bench", "fleet-server"],
            Self::Heartbeats | Self::Agent | Self::Up => &["fleet-server", "fleet-agent", "fleet", "fleet-bench"],
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to measure [default: all]
    target: Option<Target>,
    /// Print one JSON object for each target on the last lines.
    #[arg(long)]
    json: bool,
    /// Only these backends; for storage, desired, lists and swarm.
    #[arg(long, requires = "target")]
    backend: Vec<String>,
    /// How many devices there are; for desired, lists and moves.
    #[arg(long, requires = "target")]
    devices: Option<u64>,
    #[command(flatten)]
    swarm: Swarm,
    /// Use what is built already.
    #[arg(long, hide = true)]
    no_build: bool,
    /// Passed on to the target, after `--`; `cargo xtask bench heartbeats -- --help` shows what there is.
    #[arg(last = true, requires = "target")]
    rest: Vec<String>,
}

/// What is asked of the swarm; the rest of it after `--`.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Swarm")]
struct Swarm {
    /// How many agents.
    #[arg(long, requires = "target")]
    agents: Option<u64>,
    /// Agents connect by mutual TLS.
    #[arg(long, requires = "target", conflicts_with = "plain")]
    tls: bool,
    /// Agents connect without TLS, as behind a proxy.
    #[arg(long, requires = "target")]
    plain: bool,
    /// Agents poll, and keep no connection.
    #[arg(long, requires = "target")]
    poll: bool,
    /// One command to all agents.
    #[arg(long, requires = "target")]
    run: bool,
    /// Kill the server under them.
    #[arg(long, requires = "target")]
    storm: bool,
}

impl Swarm {
    /// As `fleet-bench` takes it; nothing at all is what the targets are about.
    fn pass_on(&self, rest: &[String]) -> Vec<String> {
        let agents = self.agents.map(|agents| format!("--agents={agents}"));
        let flags = [
            (self.tls, "--tls"),
            (self.plain, "--plain"),
            (self.poll, "--poll"),
            (self.run, "--run"),
            (self.storm, "--storm"),
        ];
        let flags = flags.into_iter().filter(|(asked, _)| *asked);
        let asked: Vec<_> = agents
            .into_iter()
            .chain(flags.map(|(_, flag)| flag.to_owned()))
            .collect();
        match asked.is_empty() && rest.is_empty() {
            true => ["--agents=10000", "--tls", "--run", "--storm", "--probe"]
                .map(str::to_owned)
                .to_vec(),
            false => asked,
        }
    }
}

/// Measures one target, or all.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let targets = match arguments.target {
        Some(target) => vec![target],
        None => Target::value_variants().to_vec(),
    };
    if !arguments.no_build {
        build(workspace, &targets)?;
    }
    let mut worst = 0;
    for target in targets {
        eprintln!("measuring {target:?}");
        worst = worst.max(match target {
            Target::Heartbeats => fleet_bench(workspace, "heartbeats", arguments)?,
            Target::Agent => fleet_bench(workspace, "agent", arguments)?,
            Target::Up => up(arguments)?,
            Target::Storage => fleet_bench(workspace, "storage", arguments)?,
            Target::Desired => fleet_bench(workspace, "desired", arguments)?,
            Target::Lists => fleet_bench(workspace, "lists", arguments)?,
            Target::Moves => fleet_bench(workspace, "moves", arguments)?,
            Target::Swarm => fleet_bench(workspace, "swarm", arguments)?,
        });
    }
    Ok(ExitCode::from(worst))
}

fn build(workspace: &Workspace, targets: &[Target]) -> Result<()> {
    eprintln!("building what is measured as it is released; the first time this takes many minutes");
    let begun = Instant::now();
    let mut command = workspace.cargo();
    command.args(["build", "--release"]);
    let packages: BTreeSet<&str> = targets.iter().flat_map(|target| target.packages()).copied().collect();
    for package in packages {
        command.args(["--package", package]);
    }
    let status = command.stdout(std::io::stderr()).status()?;
    if !status.success() {
        bail!("the build failed");
    }
    eprintln!("built in {} s", begun.elapsed().as_secs());
    Ok(())
}

fn fleet_bench(workspace: &Workspace, target: &str, arguments: &Arguments) -> Result<u8> {
    let mut command = workspace.command(workspace.binary("fleet-bench", true));
    command.arg(target).args(&arguments.rest);
    let cluster = cluster_for(target, arguments)?;
    if let Some(cluster) = &cluster {
        command.env("FLEET_TEST_POSTGRES", cluster.uri("postgres"));
    }
    for backend in &arguments.backend {
        command.args(["--backend", backend]);
    }
    if target == "swarm" {
        command.args(arguments.swarm.pass_on(&arguments.rest));
    }
    if let Some(devices) = arguments.devices {
        command.args(["--devices", &devices.to_string()]);
    }
    if arguments.json {
        command.arg("--json");
    }
    let status = command.status();
    if let Some(cluster) = cluster {
        cluster.remove();
    }
    let status = status.context("fleet-bench does not start")?;
    // Ended by a signal, it has reached nothing.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// A Postgres of its own in a folder that goes away, for a target that needs one.
fn cluster_for(target: &str, arguments: &Arguments) -> Result<Option<Cluster>> {
    let asked = |name: &str| arguments.backend.iter().any(|backend| backend == name);
    let needed = match target {
        "storage" => arguments.backend.is_empty() || asked("postgres"),
        "desired" | "lists" | "swarm" => asked("postgres"),
        "moves" => !arguments.rest.iter().any(|rest| rest == "--without-postgres"),
        _ => false,
    };
    if !needed {
        return Ok(None);
    }
    let folder = std::env::temp_dir().join(format!("fleet-bench-postgres-{}", std::process::id()));
    Cluster::start(&folder).map(Some).map_err(|problem| anyhow!(problem))
}

/// The check of `up` waits for the inventory and then for a command as well: what it takes is a bound from above.
fn up(arguments: &Arguments) -> Result<u8> {
    let output = std::process::Command::new(std::env::current_exe()?)
        .args(["up", "--check", "--json", "--release", "--no-build"])
        .args(&arguments.rest)
        .stderr(Stdio::inherit())
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let found: Value = serde_json::from_str(printed.lines().last().unwrap_or_default()).unwrap_or_default();
    let (ok, seconds) = judge(&found).context("up --check did not say what it found")?;
    println!(
        "up: {seconds:.1} s from the server's start to the first inventory and a command's output (gate {UP_GATE:.0} s): {}",
        if ok { "reached" } else { "missed" }
    );
    if arguments.json {
        println!("{}", json!({"ok": ok, "figure": seconds, "gate": UP_GATE, "up": found}));
    }
    Ok(u8::from(!ok))
}

/// Whether it worked and was quick enough, and how long it took.
fn judge(found: &Value) -> Option<(bool, f64)> {
    let seconds = found["seconds"].as_f64()?;
    Some((found["ok"].as_bool()? && seconds <= UP_GATE, seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_swarm_gets_what_was_asked_for_or_what_its_targets_are_about() {
        let rest = ["--seconds=5".to_owned()];
        let asked = Swarm {
            agents: Some(20),
            plain: true,
            storm: true,
            ..Swarm::default()
        };
        assert_eq!(asked.pass_on(&rest), ["--agents=20", "--plain", "--storm"]);
        assert_eq!(Swarm::default().pass_on(&rest), [""; 0]);
        let targets = ["--agents=10000", "--tls", "--run", "--storm", "--probe"];
        assert_eq!(Swarm::default().pass_on(&[]), targets);
    }

    #[test]
    fn up_has_to_work_and_to_be_quick() {
        assert_eq!(judge(&json!({"ok": true, "seconds": 60.0})), Some((true, 60.0)));
        assert_eq!(judge(&json!({"ok": true, "seconds": 60.1})), Some((false, 60.1)));
        assert_eq!(judge(&json!({"ok": false, "seconds": 3.0})), Some((false, 3.0)));
        assert_eq!(judge(&Value::Null), None);
    }
}
