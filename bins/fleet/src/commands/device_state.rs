//! What a device shall be, and why; whom it belongs to, and what is chosen on it.

use clap::Args;
use serde_json::json;

use super::{Context, Paging, assignments::SourceName, with};
use crate::{
    client::{ACTION, DEVICE, Query, Result, USER, id_of},
    output::{Column, Show},
};

/// `fleet manifest`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fleet manifest web-1
  fleet manifest web-1 --history --limit 10")]
pub struct Manifest {
    /// The device.
    device: String,
    /// What happened to it instead, newest first.
    #[arg(long)]
    history: bool,
    #[command(flatten)]
    paging: Paging,
}

/// `fleet devices owners`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fleet devices owners laptop-7
  fleet devices owners laptop-7 --give-to ana
  fleet devices owners laptop-7 --nobody")]
pub struct Owners {
    /// The device.
    device: String,
    /// Give it to this user and to nobody else; may be repeated.
    #[arg(long, value_name = "USER", conflicts_with = "nobody")]
    give_to: Vec<String>,
    /// Take it from everybody.
    #[arg(long)]
    nobody: bool,
}

/// `fleet devices available`
#[derive(Debug, Args)]
pub struct Available {
    /// The device.
    device: String,
    #[command(flatten)]
    paging: Paging,
}

/// `fleet devices select`, `fleet devices deselect`
#[derive(Debug, Args)]
pub struct Selection {
    /// The device.
    device: String,
    #[command(flatten)]
    source: SourceName,
}

/// `fleet why`
#[derive(Debug, Args)]
pub struct Why {
    /// The device.
    device: String,
    /// Only this action, whatever comes of it.
    action: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

const WHY_COLUMNS: &[Column] = &[
    Column::new("ACTION", "/name", Show::Text),
    Column::new("OUTCOME", "/outcome", Show::Text),
    Column::new("WHY", "/in_words", Show::Text),
];
const HISTORY: &[Column] = &[
    Column::new("AT", "/at", Show::Text),
    Column::new("EVENT", "/event", Show::Text),
    Column::new("VERSION", "/version", Show::Text),
    Column::new("ACTIONS", "/count", Show::Text),
    Column::new("TO TAKE BACK", "/reverts", Show::Text).wide(),
    Column::new("PROBLEM", "/problem/message", Show::Text),
];
const AVAILABLE: &[Column] = &[
    Column::new("WHAT", "/name", Show::Text),
    Column::new("IS A", "/source/type", Show::Text),
    Column::new("CHOSEN", "/selected", Show::Text),
    Column::new("DESCRIPTION", "/description", Show::Text),
    Column::new("ID", "/source/id", Show::Id).wide(),
];

/// Shows what a device shall be, or what happened to that.
pub async fn manifest(context: &mut Context, manifest: Manifest) -> Result<()> {
    let id = id_of(&context.client, &DEVICE, &manifest.device).await?;
    let path = ["devices", &id, "manifest", "events"];
    if !manifest.history {
        return context.show(&path[..3]).await;
    }
    let none = "nothing happened to its manifest";
    context.list(&path, Query::new(), manifest.paging, HISTORY, none).await
}

/// Shows whom a device belongs to, or gives it to somebody.
pub async fn owners(context: &mut Context, owners: Owners) -> Result<()> {
    let id = id_of(&context.client, &DEVICE, &owners.device).await?;
    let path = ["devices", &id, "owners"];
    if owners.give_to.is_empty() && !owners.nobody {
        return context.show(&path).await;
    }
    let mut users = Vec::with_capacity(owners.give_to.len());
    for user in &owners.give_to {
        users.push(id_of(&context.client, &USER, user).await?);
    }
    let set = context.client.put(&path, &json!({"users": users})).await?.body;
    let whom = match owners.give_to.is_empty() {
        true => "nobody".to_owned(),
        false => owners.give_to.join(", "),
    };
    context
        .output
        .done(&format!("{} belongs to {whom}", owners.device), &set)
}

/// Lists what may be chosen on a device.
pub async fn available(context: &mut Context, available: Available) -> Result<()> {
    let id = id_of(&context.client, &DEVICE, &available.device).await?;
    let (path, none) = (["devices", &id, "available"], "nothing is available on it");
    context
        .list(&path, Query::new(), available.paging, AVAILABLE, none)
        .await
}

/// Chooses what is available on a device, or not any more.
pub async fn select(context: &mut Context, selection: Selection, selected: bool) -> Result<()> {
    let id = id_of(&context.client, &DEVICE, &selection.device).await?;
    let source = selection.source.find(&context.client).await?;
    let path = ["devices", &id, "selections"];
    let body = json!({"source": source, "selected": selected});
    context.client.put(&path, &body).await?;
    let words = match selected {
        true => format!("chosen on {}", selection.device),
        false => format!("not chosen on {} any more", selection.device),
    };
    context.output.done_to(&words, source["id"].as_str().unwrap_or("?"))
}

/// Says why actions apply to a device or not.
pub async fn why(context: &mut Context, why: Why) -> Result<()> {
    let id = id_of(&context.client, &DEVICE, &why.device).await?;
    let action = match &why.action {
        Some(action) => Some(id_of(&context.client, &ACTION, action).await?),
        None => None,
    };
    let mut query = Query::new();
    with(&mut query, "action", action);
    let none = "nothing is assigned to it";
    context
        .list(&["devices", &id, "why"], query, why.paging, WHY_COLUMNS, none)
        .await
}
