//! The audit.

use clap::{Args, Subcommand};

use super::{Context, Paging, with};
use crate::{
    client::{Query, Result, USER, id_of},
    output::{Column, Show},
};

/// `fleet audit`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List entries, newest first.
    #[command(
        after_help = "Example:\n  fleet audit list --actor admin --action device.label.set --from 2026-01-01T00:00:00Z"
    )]
    List(List),
    /// Show the state of the chain that makes entries unalterable.
    Chain,
}

/// `fleet audit list`
#[derive(Debug, Args)]
pub struct List {
    /// Only by this user.
    #[arg(long, value_name = "USER")]
    actor: Option<String>,
    /// Only this action.
    #[arg(long)]
    action: Option<String>,
    /// Only to the thing with this id.
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Only from this time on (RFC 3339).
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

const COLUMNS: &[Column] = &[
    Column::new("AT", "/at", Show::Text),
    Column::new("ACTOR", "/actor", Show::Actor),
    Column::new("ACTION", "/action", Show::Text),
    Column::new("OUTCOME", "/outcome", Show::State),
    Column::new("SUBJECT", "/subject/name", Show::Text),
    Column::new("KIND", "/subject/kind", Show::Text).wide(),
    Column::new("CHANGED", "/changed", Show::Text),
    Column::new("FROM", "/origin/address", Show::Text).wide(),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List(list) => {
            let mut query = Query::new();
            if let Some(actor) = &list.actor {
                query.push(("actor", id_of(&context.client, &USER, actor).await?));
            }
            with(&mut query, "action", list.action);
            with(&mut query, "subject", list.subject);
            with(&mut query, "from", list.from);
            with(&mut query, "to", list.to);
            context
                .list(&["audit-entries"], query, list.paging, COLUMNS, "no entries")
                .await
        }
        Command::Chain => context.show(&["audit-entries", "chain"]).await,
    }
}
