//! `fleet-server`: the API server on one of the storage backends. Wiring, no rules.

mod config;
mod files;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fleet_bins_common::logging;

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
        Command::Serve(flags) => {
            let config = config::Config::load(&flags)?;
            logging::start(config.log_format());
            runtime()?.block_on(serve::serve(&config))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
