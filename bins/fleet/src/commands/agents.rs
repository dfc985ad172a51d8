//! The agents that the server hands out.

use clap::Subcommand;

use super::{Context, Paging};
use crate::{
    client::{Query, Result},
    output::{Column, Show},
};

/// `fleet agents`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the agents that the server hands out to its installer, by platform.
    #[command(after_help = "\
They are files in the server's folder for agents, <data>/agents, named fleet-agent-<platform>.
On a machine: curl -fsSL https://SERVER/install.sh | sudo FLEET_TOKEN=\"$token\" sh")]
    List,
}

const COLUMNS: &[Column] = &[
    Column::new("PLATFORM", "/platform", Show::Text),
    Column::new("SIZE", "/size_bytes", Show::Size),
    Column::new("CHANGED", "/modified_at", Show::Ago),
    Column::new("SHA-256", "/sha256", Show::Text),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    let Command::List = command;
    let every = Paging { limit: 500, all: true };
    let nothing = "the server hands out no agents: put fleet-agent-<platform> into its folder for agents";
    context
        .list(&["agent-binaries"], Query::new(), every, COLUMNS, nothing)
        .await
}
