//! Approvals: work that begins only when others agree.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Context, Paging};
use crate::{
    client::{APPROVAL, Query, Result, id_of},
    output::{Column, Show},
};

/// `fleet approvals`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what waits for agreement; what expires first comes first.
    List {
        /// Those that were decided or have expired, too; newest first.
        #[arg(long)]
        decided: bool,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show what somebody has to agree to, and what was decided.
    Show {
        /// The approval.
        approval: String,
    },
    /// Agree to work that somebody else asked for, or to what a dry run would change.
    Approve(Decide),
    /// Refuse work: none of it begins. Whoever asked for it may take it back by this.
    Reject(Decide),
}

/// What is decided.
#[derive(Debug, Args)]
pub struct Decide {
    /// The approval.
    approval: String,
    /// Why.
    #[arg(long)]
    comment: Option<String>,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("OPERATION", "/operation", Show::Text),
    Column::new("RUNS", "/runs", Show::Text),
    Column::new("DRY RUN FAILED ON", "/dry_run/failed", Show::Text).wide(),
    Column::new("ASKED BY", "/requested_by", Show::Actor),
    Column::new("STANDING", "/standing", Show::Text),
    Column::new("NEEDED", "/needed", Show::Text),
    Column::new("CREATED", "/created_at", Show::Ago),
    Column::new("EXPIRES", "/expires_at", Show::Text),
    Column::new("BATCH", "/batch", Show::Text).wide(),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List { decided, paging } => {
            let mut query = Query::new();
            if !decided {
                query.push(("open", "true".to_owned()));
            }
            context
                .list(&["approvals"], query, paging, COLUMNS, "nothing waits for agreement")
                .await
        }
        Command::Show { approval } => {
            let id = id_of(&context.client, &APPROVAL, &approval).await?;
            context.show(&["approvals", &id]).await
        }
        Command::Approve(decide) => decided(context, decide, "approve").await,
        Command::Reject(decide) => decided(context, decide, "reject").await,
    }
}

async fn decided(context: &mut Context, decide: Decide, verb: &str) -> Result<()> {
    let id = id_of(&context.client, &APPROVAL, &decide.approval).await?;
    let body = json!({"comment": decide.comment});
    let approval = context.client.post(&["approvals", &id, verb], &body, None).await?.body;
    let agreed = approval["decisions"].as_array().map_or(0, Vec::len);
    let words = match approval["standing"].as_str() {
        Some("approved") if approval["dry_run"].is_object() => {
            let path = ["batches", approval["batch"].as_str().unwrap_or("?")];
            let batch = context.client.get(&path, &[]).await?.body;
            let real = batch["promotion"]["promoted_to"].as_str().unwrap_or("?");
            format!("agreed; batch {real} does it for real")
        }
        Some("approved") => "agreed; it begins, or waits for its time".to_owned(),
        Some("rejected") => "refused; none of it begins".to_owned(),
        _ => format!("agreed; {agreed} of {} needed", approval["needed"]),
    };
    context.output.done(&words, &approval)
}
