//! The server as a whole: its health, its numbers, its tables, its live events.

use clap::CommandFactory as _;
use serde_json::{Value, json};

use super::{Cli, Context, Paging};
use crate::{
    client::{self, Exit, Failure, Query, Result},
    output::{Column, Output, Show, note},
};

const OPERATIONS: &[Column] = &[
    Column::new("NAME", "/name", Show::Text),
    Column::new("TITLE", "/title", Show::Text),
    Column::new("PERMISSION", "/permission", Show::Text),
    Column::new("RISK", "/risk", Show::Text),
    Column::new("TIMEOUT (S)", "/timeout_seconds", Show::Text),
    Column::new("ONE AT A TIME", "/exclusive", Show::Text).wide(),
];

const PERMISSIONS: &[Column] = &[
    Column::new("PERMISSION", "/permission", Show::Text),
    Column::new("ALLOWS", "/allows", Show::Text),
    Column::new("LEAST ROLE", "/least_role", Show::Text),
];

/// Shows whether the server is well, and the fleet in numbers.
pub async fn status(context: &mut Context) -> Result<()> {
    let healthy = context.client.is_well("healthz").await?;
    let ready = context.client.is_well("readyz").await?;
    let fleet = context.client.get(&["fleet"], &[]).await?.body;
    let status = json!({
        "server": {"url": context.client.url(), "healthy": healthy, "ready": ready},
        "fleet": fleet,
    });
    context.output.thing(&status)?;
    if healthy && ready {
        Ok(())
    } else {
        Err(Failure::new(
            Exit::Unreachable,
            "server.not_ready",
            "the server cannot serve now; its log says why",
        ))
    }
}

/// Lists kinds of work.
pub async fn operations(context: &mut Context) -> Result<()> {
    let every = Paging { limit: 500, all: true };
    context
        .list(&["operations"], Query::new(), every, OPERATIONS, "no operations")
        .await
}

/// Lists permissions.
pub async fn permissions(context: &mut Context) -> Result<()> {
    let every = Paging { limit: 500, all: true };
    context
        .list(&["permissions"], Query::new(), every, PERMISSIONS, "no permissions")
        .await
}

/// Follows live events until Ctrl-C.
pub async fn events(context: &mut Context) -> Result<()> {
    let output = &mut context.output;
    let follow = client::events(&context.client, |event| {
        let data: Value = serde_json::from_str(&event.data).unwrap_or(Value::String(event.data));
        output.text(&format!("{}\n", json!({"event": event.kind, "data": data})))
    });
    tokio::select! {
        result = follow => {
            result?;
            note("the server ended the stream");
            Err(Failure::silent(Exit::Unreachable))
        }
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Prints the completions of a shell.
pub fn completions(shell: clap_complete::Shell, output: &mut Output) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fleet", &mut text);
    output.text(&String::from_utf8_lossy(&text))
}
