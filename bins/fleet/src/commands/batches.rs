//! Batches.

use clap::Subcommand;
use serde_json::json;

use super::{Context, Paging, runs, with};
use crate::{
    client::{Failure, PLAN, Query, Result, id_of, new_key},
    output::{Column, Format, Show, note},
};

/// `fleet batches`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List batches, newest first.
    List {
        /// Only of this kind of operation.
        #[arg(long)]
        operation: Option<String>,
        /// Only those that were made for this plan.
        #[arg(long)]
        plan: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a batch and its runs.
    Show {
        /// The batch's whole id.
        batch: String,
    },
    /// Stop all runs of a batch.
    Cancel {
        /// The batch's whole id.
        batch: String,
    },
    /// Try again what did not succeed, in a new batch with the same operation and parameters.
    #[command(after_help = "\
Example:
  fleet batches retry 019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41 --state failed --state lost")]
    Retry {
        /// The batch's whole id.
        batch: String,
        /// Only what ended like that; may be repeated [default: failed, timed_out, expired, lost, indeterminate].
        #[arg(long)]
        state: Vec<String>,
    },
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Text),
    Column::new("OPERATION", "/operation", Show::Text),
    Column::new("RUNS", "/runs", Show::Text),
    Column::new("FINISHED", "/finished", Show::Text),
    Column::new("BY", "/created_by", Show::Actor),
    Column::new("CREATED", "/created_at", Show::Ago),
    Column::new("CAUSE", "/cause", Show::Text).wide(),
    Column::new("PLAN", "/plan", Show::Id).wide(),
    Column::new("BEGINS", "/start_at", Show::Text).wide(),
    Column::new("PRIORITY", "/priority", Show::Text).wide(),
    Column::new("ATTEMPT", "/attempt", Show::Text).wide(),
    Column::new("AGAIN", "/retry_at", Show::Text).wide(),
    Column::new("APPROVAL", "/approval", Show::Id).wide(),
    Column::new("FOLLOWS", "/promotion/standing", Show::Text).wide(),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List {
            operation,
            plan,
            paging,
        } => {
            let mut query = Query::new();
            with(&mut query, "operation", operation);
            if let Some(plan) = &plan {
                query.push(("plan", id_of(&context.client, &PLAN, plan).await?));
            }
            context.list(&["batches"], query, paging, COLUMNS, "no batches").await
        }
        Command::Show { batch } => {
            let batch = whole(&batch)?;
            context.show(&["batches", batch]).await?;
            if context.output.format() == Format::Table {
                note("");
                runs::list_of_batch(context, batch).await?;
            }
            Ok(())
        }
        Command::Cancel { batch } => cancel(context, &batch).await,
        Command::Retry { batch, state } => {
            let path = ["batches", whole(&batch)?, "retry"];
            let body = json!({"states": state});
            let again = context.client.post(&path, &body, Some(&new_key())).await?.body;
            let (id, runs) = (again["id"].as_str().unwrap_or("?"), &again["runs"]);
            context
                .output
                .done(&format!("batch {id} tries it again on {runs} devices"), &again)
        }
    }
}

/// Stops all runs of a batch.
pub async fn cancel(context: &mut Context, batch: &str) -> Result<()> {
    let path = ["batches", whole(batch)?, "cancel"];
    let stopped = context.client.post(&path, &json!({}), None).await?.body;
    let words = match stopped["finished"].as_bool() {
        Some(true) => format!("all runs of batch {batch} have ended"),
        _ => format!("asked to stop batch {batch}; what devices have already ends as soon as they hear of it"),
    };
    context.output.done(&words, &stopped)
}

/// The id of a batch, given as a whole.
pub(super) fn whole(batch: &str) -> Result<&str> {
    match batch.len() {
        36 => Ok(batch),
        _ => Err(Failure::usage("a batch has no name: give its whole id")),
    }
}
