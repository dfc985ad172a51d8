//! `fleet-agent`: lets a fleet server see and run this device. Wiring, no rules.

mod commands;
mod config;
mod disk;
mod enrol;
mod install;
mod launch;
mod policy;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fleet_bins_common::logging;

/// Lets a fleet server see this device and run work on it.
#[derive(Debug, Parser)]
#[command(name = "fleet-agent", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join a fleet with an enrolment token.
    Enrol(enrol::Enrol),
    /// Connect to the server and do what it asks, until told to stop.
    Run(commands::Run),
    /// Show who this device is, and whether its agent runs.
    Status(status::Status),
    /// Collect what somebody who helps needs to know, without secrets.
    Diagnostics(status::Diagnostics),
    /// Install the service (systemd), and start it.
    Install(install::Install),
    /// Forget the fleet: remove this device's identity and everything else the agent keeps.
    Uninstall(install::Uninstall),
    /// What this device lets be done to it.
    Policy(policy::PolicyCommand),
    /// Disks of this device, and what opens them.
    #[command(subcommand)]
    Disk(disk::DiskCommand),
    /// Collect the inventory and print it; needs no server.
    Report(commands::Report),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Enrol(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Diagnostics(command) => command.run(),
        Command::Install(command) => command.run(),
        Command::Uninstall(command) => command.run(),
        Command::Policy(command) => command.run(),
        Command::Disk(command) => command.run(),
        Command::Report(command) => command.run(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            logging::complain(&format!("fleet-agent: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
