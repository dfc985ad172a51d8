//! `migrate-storage`: moves what one store holds into another, and back. Wiring over core's migration engine, no rules.

mod blobs;
mod command;
mod exit;
mod pair;
mod progress;
mod show;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use fleet_bins_common::{
    logging::{self, LogFormat},
    storage::{BlobUri, StoreUri},
};
use mimalloc::MiMalloc;

/// Records are made by one thread and freed by another, with which the system's allocator keeps a third more than is used.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Moves what one store of fleet holds into another, verified, resumable and reversible.
#[derive(Debug, Parser)]
#[command(
    name = "migrate-storage",
    version,
    about,
    propagate_version = true,
    max_term_width = 120
)]
#[command(after_help = "\
A store is sqlite:PATH, json:PATH or postgres://USER@HOST/DATABASE. Stop the server first: a SQLite or JSON store has one user,
and what is in use by a server is moved by that server (`fleet storage move URI`). A Postgres source may be moved while servers
write to it (--online). The source is altered by nothing but the mark that it is frozen. After a move, start the server with
--storage and the target.

Examples:
  migrate-storage plan --from sqlite:/var/lib/fleet/fleet.db --to postgres://fleet@db/fleet
  migrate-storage run  --from sqlite:/var/lib/fleet/fleet.db --to postgres://fleet@db/fleet
  migrate-storage back --from postgres://fleet@db/fleet --to sqlite:/var/lib/fleet/fleet.db
  migrate-storage run  --from postgres://fleet@db/fleet --to json:/var/lib/fleet/json --online
  migrate-storage blobs --storage sqlite:/var/lib/fleet/fleet.db --from file:/var/lib/fleet/blobs --to file:/srv/blobs

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused before anything was changed, 4 the stores differ,
5 a store cannot be reached, 6 interrupted. After 1, 4, 5 and 6 both stores are intact, and the same command with --resume
goes on; the answer says which command that is.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what would be moved, and what stands in the way. Changes nothing.
    Plan(Pairs),
    /// Move everything into an empty target, read it back, compare, and let the target serve.
    Run(Run),
    /// Compare the two stores record by record, and read the blobs of the target. Nobody may write meanwhile.
    Verify(Pairs),
    /// Move back into the store that the data came from, with what was written since. --from is the store that serves now.
    Back(Run),
    /// Say how far the two stores are with each other. Reads their marks only.
    Status(Stores),
    /// Give up a move that is not complete: the target is emptied, the source serves again.
    Abandon(Stores),
    /// Copy the blobs of a store to another place and read them back; the store stays as it is.
    Blobs(Blobs),
}

/// The two stores.
#[derive(Debug, Args)]
struct Stores {
    /// Where the data is
    #[arg(long, env = "FLEET_MOVE_FROM", hide_env_values = true, value_name = "URI")]
    from: StoreUri,
    /// Where it goes
    #[arg(long, env = "FLEET_MOVE_TO", hide_env_values = true, value_name = "URI")]
    to: StoreUri,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// The two stores, and the two places of their blobs where those change as well.
#[derive(Debug, Args)]
struct Pairs {
    #[command(flatten)]
    stores: Stores,
    #[command(flatten)]
    blobs: Places,
}

/// Two places of blobs.
#[derive(Debug, Args)]
struct Places {
    /// Where the blobs are, as file:PATH; without it they stay where they are
    #[arg(
        long = "blobs-from",
        env = "FLEET_MOVE_BLOBS_FROM",
        value_name = "URI",
        requires = "blobs_to"
    )]
    blobs_from: Option<BlobUri>,
    /// Where the blobs go
    #[arg(
        long = "blobs-to",
        env = "FLEET_MOVE_BLOBS_TO",
        value_name = "URI",
        requires = "blobs_from"
    )]
    blobs_to: Option<BlobUri>,
}

/// Blobs that move without their store.
#[derive(Debug, Args)]
struct Blobs {
    /// The store that refers to the blobs
    #[arg(long, env = "FLEET_STORAGE", hide_env_values = true, value_name = "URI")]
    storage: StoreUri,
    /// Where the blobs are, as file:PATH
    #[arg(long, value_name = "URI")]
    from: BlobUri,
    /// Where they go
    #[arg(long, value_name = "URI")]
    to: BlobUri,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// A move.
#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    stores: Stores,
    #[command(flatten)]
    blobs: Places,
    /// Go on with a move that was interrupted
    #[arg(long)]
    resume: bool,
    /// Let servers write to the source meanwhile; they are refused from the switch-over on. For a Postgres source
    #[arg(long)]
    online: bool,
    /// The longest time in milliseconds that writers may wait at the switch-over of an online move
    #[arg(long, value_name = "MS", default_value_t = 1_000, requires = "online", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pause: u64,
    /// Only say what would be done, as `plan` does
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
    /// Leave out the target's own check at the end; reading back and comparing is never left out
    #[arg(long)]
    no_check: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start_at(LogFormat::Text, "warn");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(command::run(cli.command)).into(),
        Err(error) => {
            logging::complain(&format!("migrate-storage: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        super::Cli::command().debug_assert();
    }
}
