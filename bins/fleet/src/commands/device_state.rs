//! What a device shall be, and why; whom it belongs to, and what is chosen on it.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{Context, Paging, assignments::SourceName, duration, with};
use crate::{
    client::{ACTION, DEVICE, Query, Result, USER, id_of},
    output::{Column, Format, Show, note},
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

/// `fleet devices disk-passphrase-token`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fleet devices disk-passphrase-token laptop-7
  fleet devices disk-passphrase-token laptop-7 --expires 5m -o json")]
pub struct DiskPassphraseToken {
    /// The device.
    device: String,
    /// How long it can be used, 1m to 60m [default: 15m].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
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
const DISK_KEYS: &[Column] = &[
    Column::new("DISK", "/disk", Show::Text),
    Column::new("KEY", "/key", Show::State),
    Column::new("SINCE", "/since", Show::Ago),
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

/// Makes a token by which a passphrase of a device's disk is chosen.
pub async fn disk_passphrase_token(context: &mut Context, token: DiskPassphraseToken) -> Result<()> {
    let id = id_of(&context.client, &DEVICE, &token.device).await?;
    let body = match token.expires {
        Some(time) => json!({"expires_in_seconds": time.as_secs()}),
        None => json!({}),
    };
    let path = ["devices", &id, "disk-passphrase-tokens"];
    let made = context.client.post(&path, &body, None).await?.body;
    match (&made["command"], made["expires_at"].as_str()) {
        (Value::String(command), Some(expires)) if context.output.format() == Format::Table => {
            let device = &token.device;
            note(&format!(
                "shown only now; to be typed on {device}, once, before {expires}:"
            ));
            context.output.text(&format!("{command}\n"))
        }
        _ => context.output.thing(&made),
    }
}

/// Lists which key of its own each disk of a device has.
pub async fn disk_keys(context: &mut Context, device: &str) -> Result<()> {
    let id = id_of(&context.client, &DEVICE, device).await?;
    let found = context.client.get(&["devices", &id, "disk-keys"], &[]).await?.body;
    let disks = found["disks"].as_array().cloned().unwrap_or_default();
    let mut list = context.output.list(DISK_KEYS);
    list.page(&disks)?;
    list.end("the device has told of no key of its own")
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
