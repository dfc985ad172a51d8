//! What an idle agent costs its device: the real agent on this very machine, with a real server beside it.

use std::{
    net::TcpListener,
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde::Serialize;

use crate::{
    child::{Service, beside, isolated},
    fixture,
    machine::{self, Threads},
};

/// The most memory of an idle agent, in kB.
const GATE: u64 = 12 * 1024;
/// What it should come to.
const TARGET: u64 = 8 * 1024;
/// How long the first inventory may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often the agent's threads are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// What the agent's log says of each section that it sent.
const SENT: &str = "report sent";

/// Memory and CPU of an idle agent.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How long it has to be idle first
    #[arg(long, default_value_t = 30)]
    idle_seconds: u64,
    /// How long its CPU time is measured then
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Print one JSON object on the last line
    #[arg(long)]
    json: bool,
}

/// The last line of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    /// Idle memory, in kB.
    figure: u64,
    gate: u64,
    target: u64,
    peak_kb: u64,
    /// As the scheduler counts, in nanoseconds, thread by thread.
    cpu_percent: f64,
    /// As the process's own sum says, in whole ticks of a hundredth of a second. It holds what ended threads did as well.
    cpu_ticks_percent: f64,
    /// How often a thread went to wait, a minute.
    waits_per_minute: f64,
    binary_kb: u64,
    load_average: f64,
}

/// Measures, prints, and says whether it is enough.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("fleet-bench-").tempdir()?;
    let data = folder.path().join("data");
    let state = folder.path().join("agent");
    // The token names the address before the server is there; nobody else takes a port that was free just now.
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let runtime = tokio::runtime::Runtime::new()?;
    let token = runtime.block_on(fixture::with_token(&data, &format!("http://{listen}")))?;
    let mut server = Service::start(
        isolated(&beside("fleet-server")?)
            .args(["serve", "--config", "/dev/null", "--listen", &listen, "--data"])
            .arg(&data),
        &folder.path().join("server.log"),
    )?;
    server.address()?;
    let program = beside("fleet-agent")?;
    let enrolled = isolated(&program)
        .args(["enrol", "--config", "/dev/null", "--state"])
        .arg(&state)
        .env("FLEET_TOKEN", token)
        .output()?;
    if !enrolled.status.success() {
        bail!(
            "the agent does not enrol: {}",
            String::from_utf8_lossy(&enrolled.stderr)
        );
    }
    let log = folder.path().join("agent.log");
    let mut agent = Service::start(
        isolated(&program)
            .args(["run", "--config", "/dev/null", "--state"])
            .arg(&state),
        &log,
    )?;
    eprintln!("waiting for the inventory");
    let sections = until_quiet(&mut agent, &log, Duration::from_secs(arguments.idle_seconds))?;
    eprintln!("{sections} sections were sent; measuring for {} s", arguments.seconds);
    let before = machine::cpu(agent.pid())?;
    let mut threads = Threads::watch(agent.pid())?;
    let begun = Instant::now();
    let window = Duration::from_secs(arguments.seconds.max(1));
    while begun.elapsed() < window {
        sleep(LOOK.min(window.saturating_sub(begun.elapsed())));
        agent.must_run()?;
        threads.look()?;
    }
    let done = threads.look()?;
    let ticks = machine::cpu(agent.pid())?.since(before);
    let seconds = begun.elapsed().as_secs_f64();
    let memory = machine::memory(agent.pid())?;
    agent.stop()?;
    server.stop()?;
    report(
        arguments.json,
        &Report {
            ok: memory.resident <= GATE,
            figure: memory.resident,
            gate: GATE,
            target: TARGET,
            peak_kb: memory.peak,
            cpu_percent: done.nanos as f64 / 1e7 / seconds,
            cpu_ticks_percent: ticks.total() * 100.0 / seconds,
            waits_per_minute: done.waits as f64 * 60.0 / seconds,
            binary_kb: program.metadata()?.len() / 1024,
            load_average: machine::load(),
        },
    )
}

/// Waits until sections were sent and none has followed for a while; how many there were.
fn until_quiet(agent: &mut Service, log: &std::path::Path, idle: Duration) -> Result<usize> {
    let begun = Instant::now();
    let (mut sent, mut since) = (0, Instant::now());
    loop {
        agent.must_run()?;
        let now = std::fs::read_to_string(log)?.matches(SENT).count();
        if now != sent {
            (sent, since) = (now, Instant::now());
        }
        if sent > 0 && since.elapsed() >= idle {
            return Ok(sent);
        }
        if begun.elapsed() > PATIENCE + idle {
            bail!(
                "no inventory within {} s; the agent's log ends with\n{}",
                PATIENCE.as_secs(),
                agent.tail()
            );
        }
        sleep(Duration::from_millis(200));
    }
}

fn report(json: bool, report: &Report) -> Result<ExitCode> {
    let megabytes = |kilobytes: u64| kilobytes as f64 / 1024.0;
    println!(
        "idle agent: {:.1} MB resident (gate {:.0}, target {:.0}), peak {:.1} MB, {:.3} % CPU ({:.3} % in whole ticks), {:.0} waits a minute, binary {:.1} MB, load average {:.1}",
        megabytes(report.figure),
        megabytes(report.gate),
        megabytes(report.target),
        megabytes(report.peak_kb),
        report.cpu_percent,
        report.cpu_ticks_percent,
        report.waits_per_minute,
        megabytes(report.binary_kb),
        report.load_average
    );
    println!("{}", if report.ok { "reached" } else { "missed" });
    if json {
        println!("{}", serde_json::to_string(report)?);
    }
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
