//! `fleet-server`: the API server on one of the storage backends. Wiring, no rules.

mod admin;
mod agents;
mod backup;
mod config;
mod files;
mod open_files;
mod repair;
mod serve;
mod settings;
mod tls;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fleet_bins_common::logging;
use mimalloc::MiMalloc;

/// A request allocates some fifty times, on any thread; the system's allocator took a sixth of the server's time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Knows every device of a fleet, runs work on it and tells people when something is wrong.
#[derive(Debug, Parser)]
#[command(name = "fleet-server", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API, and agents.
    Serve(Box<config::Flags>),
    /// Show the effective configuration, with the source of each value, and exit.
    Config(Box<config::Flags>),
    /// Look for damage in the store, and exit.
    Check(Box<config::Flags>),
    /// Set damaged lines of a JSON store aside, so that it opens again. Copy its folder first; stop the server first.
    Repair(Box<repair::Repair>),
    /// Write all that the store holds into one file, while no server uses it; or verify such a file.
    Backup(Box<backup::Backup>),
    /// Fill an empty store, of any kind, from a backup.
    Restore(Box<backup::Restore>),
    /// Get back in when nobody can sign in.
    #[command(subcommand)]
    Admin(admin::Command),
    /// Print the OpenAPI document, and exit.
    Openapi,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            logging::complain(&format!("fleet-server: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Openapi => {
            // The text ends its own last line.
            logging::print(fleet_api::openapi_document().trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(flags) => {
            let config = config::Config::load(&flags)?;
            logging::print(&config.explain());
            Ok(ExitCode::SUCCESS)
        }
        Command::Check(flags) => {
            let config = config::Config::load(&flags)?;
            logging::start(config.log_format());
            runtime()?.block_on(serve::check(&config))
        }
        Command::Repair(asked) => {
            let config = offline(&asked.flags)?;
            runtime()?.block_on(repair::repair(&config, &asked))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Backup(asked) => {
            if let Some(backup::BackupCommand::Verify { file }) = &asked.command {
                runtime()?.block_on(backup::verify(file))?;
                return Ok(ExitCode::SUCCESS);
            }
            let config = offline(&asked.flags)?;
            runtime()?.block_on(backup::backup(&config, &asked))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Restore(asked) => {
            let config = offline(&asked.flags)?;
            runtime()?.block_on(backup::restore(&config, &asked))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Admin(admin::Command::Recover(asked)) => {
            let config = offline(&asked.flags)?;
            runtime()?.block_on(admin::recover(&config, &asked))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve(flags) => {
            let config = config::Config::load(&flags)?;
            logging::start(config.log_format());
            open_files::raise();
            runtime()?.block_on(serve::serve(&config))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The configuration of a command that somebody waits for: the log tells of trouble only.
fn offline(flags: &config::Flags) -> anyhow::Result<config::Config> {
    let config = config::Config::load(flags)?;
    logging::start_at(config.log_format(), "warn");
    Ok(config)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
