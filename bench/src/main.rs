//! The measured targets: each is a command that prints a figure and fails when it falls short. `cargo xtask bench` builds
//! everything and runs it.
//!
//! ```text
//! heartbeats   durable heartbeats a second, beside a bare server that does nothing else
//! agent        what an idle agent costs its device
//!
//! probe/       that bare server, a process of its own
//! generator/   the agents, a process of their own: their work is not the server's
//! steps        what the parts of a beat cost by themselves
//! machine      what /proc says
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
mod fixture;
mod generator;
mod heartbeats;
mod machine;
mod probe;
mod steps;

use std::process::ExitCode;

use clap::Parser;

/// The measured targets.
#[derive(Debug, Parser)]
#[command(name = "fleet-bench", version)]
enum Command {
    /// Durable heartbeats a second on SQLite, as a figure and as a ratio to the probe.
    Heartbeats(heartbeats::Arguments),
    /// Memory and CPU of an idle agent.
    Agent(agent::Arguments),
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
        Command::Probe(arguments) => probe::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Generate(arguments) => generator::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("fleet-bench: {error:#}");
        ExitCode::FAILURE
    })
}
