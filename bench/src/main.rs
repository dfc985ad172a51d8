//! The measured targets: each is a command that prints a figure and fails when it falls short. `cargo xtask bench` builds
//! everything and runs it.
//!
//! ```text
//! heartbeats   durable heartbeats a second, beside a bare server that does nothing else
//! agent        what an idle agent costs its device
//! desired/     how long until a whole fleet has its new manifests, and one device its groups
//! lists/       how long people wait for lists, counts and packages
//! storage/     what each backend does in a second, beside the bare engine
//! moves/       whole fleets, moved between backends by the program that people would use
//! swarm/       up to 100,000 agents on one server: what it takes, in the steady state, for a command to all, after a crash
//!
//! probe/       that bare server, a process of its own
//! generator/   the agents, a process of their own: their work is not the server's
//! steps        what the parts of a beat cost by themselves
//! machine      what /proc says
//! figures      medians and quantiles
//! child        processes that end with us
//! ```
//!
//! Exit codes: 0 reached, 1 missed or failed, 3 void: the machine itself is too slow just now for the figure to mean anything.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program talks to its terminal"
)]

mod agent;
mod child;
mod desired;
mod figures;
mod fixture;
mod generator;
mod heartbeats;
mod lists;
mod machine;
mod moves;
mod probe;
mod steps;
mod storage;
mod swarm;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

/// The exit code of a run that says nothing: the machine is too slow just now.
const VOID: u8 = 3;

/// The server's own: what the probe allocates costs it the same.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The measured targets.
#[derive(Debug, Parser)]
#[command(name = "fleet-bench", version)]
enum Command {
    /// Durable heartbeats a second on SQLite, as a figure and as a ratio to the probe.
    Heartbeats(heartbeats::Arguments),
    /// Memory and CPU of an idle agent.
    Agent(agent::Arguments),
    /// Manifests of a whole fleet after a change, and a device among a thousand groups.
    Desired(desired::Arguments),
    /// Lists, counts and packages of a large fleet, through the services.
    Lists(lists::Arguments),
    /// Heartbeats and commits a second on each backend, beside the bare engine.
    Storage(storage::Arguments),
    /// A whole fleet from backend to backend and back, and while writers go on.
    Moves(moves::Arguments),
    /// Up to 100,000 agents on one server.
    Swarm(Box<swarm::Arguments>),
    /// The bare server (started by `heartbeats`).
    #[command(hide = true)]
    Probe(probe::Arguments),
    /// The agents (started by `heartbeats`).
    #[command(hide = true)]
    Generate(generator::Arguments),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Heartbeats(arguments) => heartbeats::run(&arguments),
        Command::Agent(arguments) => agent::run(&arguments),
        Command::Desired(arguments) => desired::run(&arguments),
        Command::Lists(arguments) => lists::run(&arguments),
        Command::Storage(arguments) => storage::run(&arguments),
        Command::Moves(arguments) => moves::run(&arguments),
        Command::Swarm(arguments) => swarm::run(&arguments),
        Command::Probe(arguments) => probe::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Generate(arguments) => generator::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("fleet-bench: {error:#}");
        ExitCode::FAILURE
    })
}
