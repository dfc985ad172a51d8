//! The swarm: 1 to 100,000 agents in one process, which speak the real protocol with a real server. It measures the targets, and it
//! tells operators which server they need.
//!
//! ```text
//! arguments   what is asked for          limits    open files
//! server      the server, when it is ours          operator  its operator: tokens, work, lists
//!
//! shared      what all agents have in common       dice      chance that follows from the seed
//! enrol       by real requests, each agent its own key and certificate
//! agent       who one is: key, certificate, clock  life      session after session, with an agent's pauses
//! socket      a session over a WebSocket           poll      a session by short requests
//! work        the runs of one agent                report    its inventory
//! stream · tls · connection    bytes, from many addresses, without memory for those who wait
//!
//! steady · run · storm         what is measured    outcome   what is printed
//! tally       what is counted                      trouble   what goes wrong
//! ```
//!
//! An agent here keeps nothing on disk and collects nothing; what it sends is what a real one sends. It waits as a real one does
//! between attempts: the code is the agent's own.

mod agent;
mod arguments;
mod connection;
mod dice;
mod enrol;
mod fanout;
mod life;
mod limits;
mod operator;
mod outcome;
mod poll;
mod probe;
mod report;
mod run;
mod server;
mod shared;
mod socket;
mod steady;
mod storm;
mod stream;
mod tally;
mod trouble;
mod work;

use std::{path::Path, process::ExitCode, sync::atomic::Ordering::Relaxed, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

pub use arguments::Arguments;

use operator::Operator;
use outcome::Outcome;
use server::Server;
use shared::{Phase, Swarm};

/// How long what is under way in the end may take.
const LAST: Duration = Duration::from_secs(20);

/// Measures, prints, and says whether it is enough.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    arguments.check()?;
    // Agents that poll have a connection for moments only.
    let connections = if arguments.poll { 0 } else { arguments.agents };
    limits::make_room(connections)?;
    let folder = tempfile::Builder::new().prefix("fleet-swarm-").tempdir()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(drive(arguments, folder.path()))?;
    // Tasks of agents are not waited for.
    runtime.shutdown_background();
    outcome.print(arguments)
}

async fn drive(arguments: &Arguments, folder: &Path) -> Result<Outcome> {
    let Some(path) = &arguments.token_file else {
        let mut server = Server::start(arguments, folder).await?;
        let outcome = on_own_server(arguments, folder, &mut server).await;
        let removed = server.remove().await;
        let outcome = outcome?;
        removed.context("the server, in the end")?;
        return Ok(outcome);
    };
    let token = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let operator = match (&arguments.operator_url, &arguments.operator_key_file) {
        (Some(url), Some(key)) => Some(Operator::with_key(url, &std::fs::read_to_string(key)?)?),
        _ => None,
    };
    let swarm = Swarm::new(arguments, token.trim()).await?;
    let (agents, enrolments) = enrol::all(&swarm).await?;
    let mut outcome = Outcome::new(arguments, enrolments);
    live(
        &swarm,
        &agents,
        operator.as_ref(),
        None,
        arguments.server_pid,
        &mut outcome,
    )
    .await?;
    Ok(outcome)
}

async fn on_own_server(arguments: &Arguments, folder: &Path, server: &mut Server) -> Result<Outcome> {
    let operator = Operator::first(&server.url(), &server.data()).await?;
    let token = operator.token(arguments.agents).await?;
    let swarm = Swarm::new(arguments, &token).await?;
    eprintln!("enrolling {} agents", arguments.agents);
    let (agents, enrolments) = enrol::all(&swarm).await?;
    eprintln!("{:.0} enrolments a second", enrolments.enrolments_per_second);
    let mut outcome = Outcome::new(arguments, enrolments);
    // What enrolment leaves behind in memory is not what a connection takes.
    server.stop()?;
    if arguments.probe {
        outcome.probe = Some(probe::measure(arguments, &agents, &swarm, folder)?);
        if arguments.run {
            outcome.fanout = Some(fanout::measure(arguments, folder).await?);
        }
    }
    server.again()?;
    live(&swarm, &agents, Some(&operator), Some(server), None, &mut outcome).await?;
    Ok(outcome)
}

/// All agents come, and all that was asked for is measured.
async fn live(
    swarm: &std::sync::Arc<Swarm>,
    agents: &[std::sync::Arc<agent::Agent>],
    operator: Option<&Operator>,
    server: Option<&mut Server>,
    pid: Option<u32>,
    outcome: &mut Outcome,
) -> Result<()> {
    let of_server = |server: &Option<&mut Server>| match server {
        Some(server) => server.pid().map(Some),
        None => Ok(pid),
    };
    let none = steady::calm_memory(of_server(&server)?).await?;
    eprintln!("connecting");
    let mut tasks = JoinSet::new();
    let came = enrol::connect(swarm, agents, &mut tasks).await?;
    outcome.connect_seconds = came.as_secs_f64();
    let idle = steady::calm_memory(of_server(&server)?).await?;
    outcome.kb_per_idle_agent = idle
        .zip(none)
        .map(|(idle, none)| (idle as f64 - none as f64) / agents.len() as f64);
    eprintln!("measuring for {} s", swarm.arguments.seconds);
    outcome.steady = steady::measure(swarm, of_server(&server)?).await?;
    if swarm.arguments.run {
        let operator = operator.context("a run without an operator")?;
        eprintln!("one command to all");
        outcome.run = Some(run::command(swarm, operator, agents).await?);
    }
    if swarm.arguments.storm {
        let (operator, server) = operator.zip(server).context("a storm on another's server")?;
        eprintln!("killing the server");
        outcome.storm = Some(storm::storm(swarm, server, operator).await?);
    }
    end(swarm).await;
    outcome.take(&swarm.tally);
    swarm.phase.send_replace(Phase::Over);
    tasks.join_all().await;
    Ok(())
}

/// Nothing new begins; what is under way gets its time.
async fn end(swarm: &Swarm) {
    swarm.phase.send_replace(Phase::Quiet);
    let begun = Instant::now();
    let tally = &swarm.tally;
    while begun.elapsed() < LAST && (tally.waiting.load(Relaxed) > 0 || tally.results_waiting.load(Relaxed) > 0) {
        sleep(Duration::from_millis(20)).await;
    }
}
