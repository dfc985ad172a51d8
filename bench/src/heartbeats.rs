//! Durable heartbeats a second: our server beside the probe, in turns, with the same agents on the same connections.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::{
    child::{Service, beside, isolated},
    figures::median,
    fixture,
    generator::{Mode, Sample},
    machine,
    steps::{self, Steps},
};

/// What our server has to reach of the probe's rate.
const GATE: f64 = 0.6;
/// The probe's published rates by connections. Below half of one the machine is too busy for its figures to mean anything.
/// Fewer connections than a group holds are not judged: a group then waits its whole linger for company, which the published
/// probe did not.
const PUBLISHED: &[(usize, f64)] = &[(512, 18_100.0)];
/// A share of requests that may be proved while it is measured.
const LATE: f64 = 0.02;

/// Durable heartbeats a second.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many agents there are, each with a connection
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=15_000))]
    connections: u64,
    /// How long each turn is measured
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=30))]
    seconds: u64,
    /// How often each of the four has its turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=20))]
    rounds: u64,
    /// Print one JSON object on the last line
    #[arg(long)]
    json: bool,
}

/// One turn.
#[derive(Debug)]
struct Turn {
    sample: Sample,
    /// Transactions for each beat, opening the sessions included.
    commits_per_beat: f64,
}

/// The turns of our server and of the probe by the same transport, pair by pair.
#[derive(Debug)]
struct Pairs {
    name: &'static str,
    ours: Mode,
    probe: Mode,
    turns: Vec<(Turn, Turn)>,
}

/// What came of the pairs: medians.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Figures {
    /// Our acknowledged beats a second.
    figure: f64,
    /// The probe's.
    probe: f64,
    /// The median of the ratios of pairs; not the ratio of the medians, which are of different moments.
    ratio: f64,
    /// The worst pair.
    ratio_least: f64,
    /// The best pair.
    ratio_most: f64,
    p50_ms: f64,
    p99_ms: f64,
    probe_p50_ms: f64,
    probe_p99_ms: f64,
    /// Transactions for each beat, opening the sessions included.
    storage_commits_per_beat: f64,
    /// Cores that our server kept busy.
    server_cores: f64,
    server_user_share: f64,
    probe_cores: f64,
    generator_cores: f64,
    /// CPU time of our server for one beat, in microseconds.
    server_micros_per_beat: f64,
    probe_micros_per_beat: f64,
}

/// The last line of `--json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    ok: bool,
    void: bool,
    gate: f64,
    connections: u64,
    load_average: f64,
    #[serde(flatten)]
    socket: &'a Figures,
    poll: &'a Figures,
    signed: &'a Figures,
    steps_micros: Steps,
}

/// Measures, prints, and says whether it is enough.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("fleet-bench-").tempdir()?;
    let connections = usize::try_from(arguments.connections)?;
    eprintln!("enrolling {connections} devices");
    let runtime = tokio::runtime::Runtime::new()?;
    let agents = runtime.block_on(fixture::with_devices(&folder.path().join("data"), connections))?;
    fixture::keep(&agents, &folder.path().join("agents"))?;
    private_folder(&folder.path().join("probe"))?;
    let steps = runtime.block_on(steps::measure(folder.path(), &agents))?;
    let mut all = [
        pairs("socket", Mode::Socket, Mode::ProbeSocket),
        pairs("poll", Mode::Poll, Mode::ProbePoll),
        pairs("signed", Mode::Signed, Mode::ProbePoll),
    ];
    for round in 1..=arguments.rounds {
        for pairs in &mut all {
            let probe = turn(pairs.probe, folder.path(), arguments)?;
            let ours = turn(pairs.ours, folder.path(), arguments)?;
            eprintln!(
                "round {round} of {}, {}: {:.0}/s of the probe's {:.0}/s (load average {:.1})",
                arguments.rounds,
                pairs.name,
                ours.sample.rate,
                probe.sample.rate,
                machine::load()
            );
            pairs.turns.push((ours, probe));
        }
    }
    report(arguments, all.each_ref().map(Pairs::figures), steps)
}

fn pairs(name: &'static str, ours: Mode, probe: Mode) -> Pairs {
    Pairs {
        name,
        ours,
        probe,
        turns: Vec::new(),
    }
}

/// Starts one of the two servers, lets the agents beat on it, and stops it.
fn turn(mode: Mode, folder: &Path, arguments: &Arguments) -> Result<Turn> {
    let own = std::env::current_exe()?;
    let log = folder.join("server.log");
    let mut command = if mode.is_probe() {
        let mut command = Command::new(&own);
        command.args(["probe", "--data"]).arg(folder.join("probe"));
        command
    } else {
        let mut command = isolated(&beside("fleet-server")?);
        command.args(["serve", "--listen", "127.0.0.1:0", "--config", "/dev/null", "--data"]);
        command.arg(folder.join("data")).env("NO_COLOR", "1");
        command
    };
    let mut server = Service::start(&mut command, &log)?;
    let address = server.address()?;
    let name = clap::ValueEnum::to_possible_value(&mode).context("a mode without name")?;
    let output = Command::new(&own)
        .args(["generate", "--mode", name.get_name(), "--address", &address, "--agents"])
        .arg(folder.join("agents"))
        .args(["--seconds", &arguments.seconds.to_string(), "--warm-up-seconds", "2"])
        .args(["--server", &server.pid().to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("the generator failed; the server's log ends with\n{}", server.tail());
    }
    let sample: Sample = serde_json::from_slice(&output.stdout).context("what the generator printed")?;
    let log = server.stop()?;
    let transactions =
        count(&log, "transactions=").context("the server does not say how many transactions there were")?;
    if sample.proved_late as f64 > sample.rate * sample.seconds * LATE {
        eprintln!(
            "{} requests had to be proved while the clock was running",
            sample.proved_late
        );
    }
    Ok(Turn {
        commits_per_beat: transactions / sample.beats.max(1) as f64,
        sample,
    })
}

/// The last number after a name in a log.
fn count(log: &str, name: &str) -> Option<f64> {
    let (_, rest) = log.rsplit_once(name)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn private_folder(path: &Path) -> Result<()> {
    Ok(fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?)
}

impl Pairs {
    fn ratios(&self) -> impl Iterator<Item = f64> {
        self.turns
            .iter()
            .map(|(ours, probe)| ours.sample.rate / probe.sample.rate)
    }

    fn figures(&self) -> Figures {
        let of =
            |read: fn(&Turn, &Turn) -> f64| median(self.turns.iter().map(|(ours, probe)| read(ours, probe)).collect());
        Figures {
            figure: of(|ours, _| ours.sample.rate),
            probe: of(|_, probe| probe.sample.rate),
            ratio: of(|ours, probe| ours.sample.rate / probe.sample.rate),
            ratio_least: self.ratios().fold(f64::INFINITY, f64::min),
            ratio_most: self.ratios().fold(0.0, f64::max),
            p50_ms: of(|ours, _| ours.sample.p50_ms),
            p99_ms: of(|ours, _| ours.sample.p99_ms),
            probe_p50_ms: of(|_, probe| probe.sample.p50_ms),
            probe_p99_ms: of(|_, probe| probe.sample.p99_ms),
            storage_commits_per_beat: of(|ours, _| ours.commits_per_beat),
            server_cores: of(|ours, _| ours.sample.server.total() / ours.sample.seconds),
            server_user_share: of(|ours, _| ours.sample.server.user / ours.sample.server.total()),
            probe_cores: of(|_, probe| probe.sample.server.total() / probe.sample.seconds),
            generator_cores: of(|ours, _| ours.sample.generator.total() / ours.sample.seconds),
            server_micros_per_beat: of(|ours, _| micros_per_beat(&ours.sample)),
            probe_micros_per_beat: of(|_, probe| micros_per_beat(&probe.sample)),
        }
    }
}

fn micros_per_beat(sample: &Sample) -> f64 {
    sample.server.total() * 1e6 / (sample.rate * sample.seconds)
}

/// Whether the probe itself was too slow for anything to be said.
fn is_void(connections: usize, probe: f64) -> bool {
    let published = PUBLISHED.iter().rev().find(|(least, _)| connections >= *least);
    published.is_some_and(|(_, rate)| probe < rate / 2.0)
}

fn report(arguments: &Arguments, figures: [Figures; 3], steps: Steps) -> Result<ExitCode> {
    let [socket, poll, signed] = &figures;
    let connections = usize::try_from(arguments.connections)?;
    // The published probe took requests.
    let void = is_void(connections, poll.probe);
    let worst = socket.ratio.min(poll.ratio);
    let ok = worst >= GATE && !void;
    let load = machine::load();
    println!("durable heartbeats on SQLite, synchronous=FULL, {connections} agents, load average {load:.1}; medians:");
    for (name, figures) in [("socket", socket), ("poll", poll), ("signed", signed)] {
        println!(
            "  {name:6}  {:.0}/s, the probe {:.0}/s, {:.0} % of it pair by pair ({:.0} to {:.0} %); p50 {:.1} ms, p99 {:.1} ms (probe {:.1} and {:.1}); {:.4} commits a beat",
            figures.figure,
            figures.probe,
            figures.ratio * 100.0,
            figures.ratio_least * 100.0,
            figures.ratio_most * 100.0,
            figures.p50_ms,
            figures.p99_ms,
            figures.probe_p50_ms,
            figures.probe_p99_ms,
            figures.storage_commits_per_beat
        );
        println!(
            "          server {:.2} cores ({:.0} % in user mode, {:.0} µs a beat), probe {:.2} cores ({:.0} µs), generator {:.2} cores",
            figures.server_cores,
            figures.server_user_share * 100.0,
            figures.server_micros_per_beat,
            figures.probe_cores,
            figures.probe_micros_per_beat,
            figures.generator_cores
        );
    }
    let rest = |figures: &Figures, proof: f64| figures.server_micros_per_beat - proof - steps.json - steps.ingest;
    println!(
        "  µs of the server's CPU for a beat by polling: proof {:.1}, JSON {:.1}, ingest {:.1}, all else {:.1}; signed: assertion {:.1}, all else {:.1}",
        steps.proof,
        steps.json,
        steps.ingest,
        rest(poll, steps.proof),
        steps.assertion,
        rest(signed, steps.assertion)
    );
    println!("  socket: one frame on an open WebSocket, as agents beat normally; the probe by WebSocket too.");
    println!(
        "  poll:   one request for each beat, where proxies break sockets, proved by a session key; the probe checks no proof."
    );
    println!(
        "          An agent agrees on a key every eight minutes, by one signed exchange: not while it is measured."
    );
    println!(
        "  signed: one signature for each beat, as from agents that know no session keys. Verifying it takes longer than all"
    );
    println!("          that the probe does, so this has no gate. Socket and poll have.");
    if void {
        println!(
            "void: the probe reached {:.0}/s, less than half of what it is published with; this machine is too busy or too slow just now",
            poll.probe
        );
    } else {
        println!(
            "{}: {:.0} % of the probe by socket and {:.0} % by polling, the gate is {:.0} %",
            if ok { "reached" } else { "missed" },
            socket.ratio * 100.0,
            poll.ratio * 100.0,
            GATE * 100.0
        );
    }
    if arguments.json {
        let report = Report {
            ok,
            void,
            gate: GATE,
            connections: arguments.connections,
            load_average: load,
            socket,
            poll,
            signed,
            steps_micros: steps,
        };
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(if void {
        ExitCode::from(crate::VOID)
    } else if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_below_half_of_its_published_rate_says_nothing() {
        assert!(is_void(512, 9_049.0));
        assert!(!is_void(512, 9_050.0));
        assert!(is_void(1_024, 9_000.0));
        assert!(!is_void(64, 1.0));
    }

    #[test]
    fn the_last_count_of_a_log_is_taken() {
        assert_eq!(
            count("x transactions=3 works=9\ny transactions=14 works", "transactions="),
            Some(14.0)
        );
        assert_eq!(count("transactions=", "transactions="), None);
        assert_eq!(count("", "transactions="), None);
    }
}
