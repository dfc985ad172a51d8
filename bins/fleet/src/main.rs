//! **fleet**: the operator's command line. It asks the server and shows what it says; it holds no rules.
//!
//! ```text
//! client/    HTTP, problems and exit codes, pages, names to ids, live streams
//! commands/  one file per noun
//! output/    tables, JSON, YAML
//! ```

mod client;
mod commands;
mod output;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = commands::Cli::parse();
    let format = cli.format();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(&format!("fleet: no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(commands::run(cli));
    // A prompt that nobody answers must not hold us.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::failure(&failure, format);
            ExitCode::from(failure.exit() as u8)
        }
    }
}
