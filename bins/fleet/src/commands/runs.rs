//! Runs.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Context, Paging, batches,
    run_output::{self, RunOutput},
    with,
};
use crate::{
    client::{ACTION, DEVICE, Query, RUN, Result, id_of, new_key},
    output::{Column, Show},
};

/// `fleet runs`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List runs, newest first.
    #[command(
        after_help = "Example:\n  fleet runs list --device web-1 --state failed --state lost\n  \
                            fleet runs list --action Motd --state failed --from 2026-12-01T00:00:00Z"
    )]
    List(List),
    /// Show a run.
    Show {
        /// The run.
        run: String,
    },
    /// Print what a run printed.
    #[command(after_help = "Example:\n  fleet runs output ID --format ndjson --stream stdout > output.ndjson")]
    Output(RunOutput),
    /// Cancel runs, all runs of a batch, or all that devices have still to do.
    #[command(after_help = "Example:\n  fleet runs cancel 5d0c6b7e9a41\n  fleet runs cancel --device web-1")]
    Cancel(Cancel),
    /// Do once more what a run did, in a batch of one device.
    #[command(after_help = "Example:\n  fleet runs retry 5d0c6b7e9a41")]
    Retry {
        /// The run.
        run: String,
    },
    /// How a run came from state to state.
    Events {
        /// The run.
        run: String,
        #[command(flatten)]
        paging: Paging,
    },
}

/// `fleet runs list`
#[derive(Debug, Args)]
pub struct List {
    /// Only on this device.
    #[arg(long)]
    device: Option<String>,
    /// Only of this batch.
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// Only in this state; may be repeated.
    #[arg(long)]
    state: Vec<String>,
    /// Only of this kind of operation.
    #[arg(long)]
    operation: Option<String>,
    /// Only what devices began by themselves for this action.
    #[arg(long)]
    action: Option<String>,
    /// Only what was created from this time on (RFC 3339).
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only what was created before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only what ended from this time on (RFC 3339).
    #[arg(long, value_name = "TIME")]
    finished_from: Option<String>,
    /// Only what ended before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    finished_to: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

/// `fleet runs cancel`
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Cancel {
    /// The runs.
    runs: Vec<String>,
    /// All runs of this batch that have not ended.
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// All runs of this device that have not ended, of whatever batch; may be repeated.
    #[arg(long)]
    device: Vec<String>,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("DEVICE", "/device_name", Show::Text),
    Column::new("OPERATION", "/operation", Show::Text),
    Column::new("STATE", "/state", Show::State),
    Column::new("EXIT", "/ending/exit_code", Show::Text),
    Column::new("CREATED", "/created_at", Show::Ago),
    Column::new("FINISHED", "/finished_at", Show::Ago),
    Column::new("PRIORITY", "/priority", Show::Text).wide(),
    Column::new("CHANGED", "/ending/changed", Show::Text).wide(),
    Column::new("BATCH", "/batch", Show::Text).wide(),
    Column::new("ACTION", "/origin/action", Show::Id).wide(),
    Column::new("MESSAGE", "/ending/message", Show::Text).wide(),
];

const EVENTS: &[Column] = &[
    Column::new("AT", "/at", Show::Text),
    Column::new("FROM", "/from", Show::Text),
    Column::new("TO", "/to", Show::State),
    Column::new("BY", "/actor", Show::Actor),
    Column::new("REASON", "/reason", Show::Text),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List(list) => {
            let mut query = Query::new();
            if let Some(device) = &list.device {
                query.push(("device", id_of(&context.client, &DEVICE, device).await?));
            }
            with(&mut query, "batch", list.batch);
            for state in list.state {
                query.push(("state", state));
            }
            with(&mut query, "operation", list.operation);
            if let Some(action) = &list.action {
                query.push(("action", id_of(&context.client, &ACTION, action).await?));
            }
            with(&mut query, "from", list.from);
            with(&mut query, "to", list.to);
            with(&mut query, "finished_from", list.finished_from);
            with(&mut query, "finished_to", list.finished_to);
            context.list(&["runs"], query, list.paging, COLUMNS, "no runs").await
        }
        Command::Show { run } => {
            let id = id_of(&context.client, &RUN, &run).await?;
            context.show(&["runs", &id]).await
        }
        Command::Output(wanted) => run_output::print(context, wanted).await,
        Command::Cancel(wanted) => cancel(context, wanted).await,
        Command::Retry { run } => {
            let id = id_of(&context.client, &RUN, &run).await?;
            let path = ["runs", &id, "retry"];
            let again = context.client.post(&path, &json!({}), Some(&new_key())).await?.body;
            let batch = again["id"].as_str().unwrap_or("?").to_owned();
            let words = match again["approval"].as_str() {
                Some(approval) => format!("batch {batch} tries it again once approval {approval} is given"),
                None => format!("batch {batch} tries it again"),
            };
            context.output.done(&words, &again)
        }
        Command::Events { run, paging } => {
            let id = id_of(&context.client, &RUN, &run).await?;
            let path = ["runs", &id, "events"];
            context.list(&path, Query::new(), paging, EVENTS, "no events").await
        }
    }
}

/// Asks for runs to stop. All that is named is found before anything is stopped.
async fn cancel(context: &mut Context, wanted: Cancel) -> Result<()> {
    let (mut runs, mut devices) = (Vec::new(), Vec::new());
    for run in &wanted.runs {
        runs.push(id_of(&context.client, &RUN, run).await?);
    }
    for device in &wanted.device {
        devices.push((device, id_of(&context.client, &DEVICE, device).await?));
    }
    if let Some(batch) = &wanted.batch {
        batches::cancel(context, batch).await?;
    }
    for id in &runs {
        let path = ["runs", id, "cancel"];
        let run = context.client.post(&path, &json!({}), None).await?.body;
        let state = run["state"].as_str().unwrap_or("unknown");
        let words = format!("asked to cancel {id}; it is {state}");
        context.output.done(&words, &run)?;
    }
    for (name, id) in &devices {
        let path = ["devices", id, "runs", "cancel"];
        let answer = context.client.post(&path, &json!({}), None).await?.body;
        let words = match answer["runs"].as_u64() {
            Some(1) => format!("asked to cancel 1 run of {name}"),
            Some(runs) => format!("asked to cancel {runs} runs of {name}"),
            None => format!("asked to cancel all runs of {name}"),
        };
        context.output.done(&words, &answer)?;
    }
    Ok(())
}

/// Lists the runs of a batch.
pub async fn list_of_batch(context: &mut Context, batch: &str) -> Result<()> {
    let every = Paging { limit: 500, all: true };
    let query = vec![("batch", batch.to_owned())];
    context.list(&["runs"], query, every, COLUMNS, "no runs").await
}
