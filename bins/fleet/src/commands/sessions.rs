//! One's own sessions.

use clap::Subcommand;

use super::{Context, Paging};
use crate::{
    client::{Query, Result, SESSION, id_of},
    output::{Column, Show},
};

/// `fleet sessions`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List your sessions.
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// End sessions.
    Delete {
        /// The sessions.
        #[arg(required = true)]
        sessions: Vec<String>,
    },
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("THIS", "/current", Show::Text),
    Column::new("BEGAN", "/created_at", Show::Ago),
    Column::new("SEEN", "/last_seen_at", Show::Ago),
    Column::new("EXPIRES", "/expires_at", Show::Ago),
    Column::new("FROM", "/address", Show::Text),
    Column::new("PROGRAM", "/user_agent", Show::Text).wide(),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List { paging } => {
            context
                .list(&["sessions"], Query::new(), paging, COLUMNS, "no sessions")
                .await
        }
        Command::Delete { sessions } => {
            for session in &sessions {
                let id = id_of(&context.client, &SESSION, session).await?;
                context.client.delete(&["sessions", &id]).await?;
                context.output.done_to(&format!("ended session {session}"), &id)?;
            }
            Ok(())
        }
    }
}
