//! Every command of developers and of continuous integration: `cargo xtask COMMAND`.
//!
//! ```text
//! up       a server and an agent on this very machine
//! setup    what the tests need
//! test     everything that has to hold before a change lands
//! openapi  the committed description of the REST API
//! bench    the measured targets
//! dist     the programs that are handed out
//! ```

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program talks to its terminal"
)]

mod bench;
mod dist;
mod openapi;
mod postgres;
mod process;
mod setup;
mod test;
mod up;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use workspace::Workspace;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The project's own commands",
    version
)]
enum Command {
    /// Start a server and an agent on this machine and show what to try.
    Up(up::Arguments),
    /// Say and install what the tests need.
    Setup(setup::Arguments),
    /// Run everything that has to hold before a change lands.
    Test(test::Arguments),
    /// Write openapi/openapi.json from the server's routes, or check that it is up to date.
    Openapi(openapi::Arguments),
    /// Measure the targets: each prints a figure and fails when it falls short.
    Bench(bench::Arguments),
    /// Build the programs that are handed out, for old C libraries too, into target/dist.
    Dist(dist::Arguments),
}

fn main() -> ExitCode {
    let result = Workspace::find().and_then(|workspace| match Command::parse() {
        Command::Up(arguments) => up::run(&workspace, &arguments),
        Command::Setup(arguments) => setup::run(&workspace, &arguments).map(|()| ExitCode::SUCCESS),
        Command::Test(arguments) => test::run(&workspace, &arguments),
        Command::Openapi(arguments) => openapi::run(&workspace, &arguments).map(|()| ExitCode::SUCCESS),
        Command::Bench(arguments) => bench::run(&workspace, &arguments),
        Command::Dist(arguments) => dist::run(&workspace, &arguments),
    });
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
