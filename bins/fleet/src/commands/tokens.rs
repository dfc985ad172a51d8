//! Enrolment tokens.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Context, Paging, duration, pair};
use crate::{
    client::{GROUP, Query, Result, TOKEN, id_of},
    output::{Column, Format, Show, note},
};

/// `fleet tokens`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List enrolment tokens; their secrets are shown once, when they are made.
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Show an enrolment token.
    Show {
        /// The token.
        token: String,
    },
    /// Make an enrolment token and print it, this once.
    #[command(after_help = "\
Examples:
  fleet tokens create --description 'web servers' --max-uses 20 --expires 7d --label role=web
  fleet tokens create --max-uses 500 --daily-uses 50 --expires 365d --network 10.20.0.0/16   # for an image
  (umask 077 && fleet tokens create > token) && fleet-agent enrol --token-file token")]
    Create(Create),
    /// Make a PIN of six digits, for one machine and ten minutes, to be typed there.
    Pin(Pin),
    /// Revoke enrolment tokens; devices that joined with them stay.
    Revoke {
        /// The tokens.
        #[arg(required = true)]
        tokens: Vec<String>,
    },
}

/// `fleet tokens create`
#[derive(Debug, Args)]
pub struct Create {
    /// Its name; one is made up when left out.
    #[arg(long)]
    name: Option<String>,
    /// What it is for.
    #[arg(long, default_value = "")]
    description: String,
    /// How many machines may join with it [default: 1].
    #[arg(long, value_name = "N")]
    max_uses: Option<u32>,
    /// How many machines may join with it on one day (UTC).
    #[arg(long, value_name = "N")]
    daily_uses: Option<u32>,
    /// From where machines may join with it, such as 10.0.0.0/8 or an address; may be repeated [default: anywhere].
    #[arg(long, value_name = "NETWORK")]
    network: Vec<String>,
    /// Whether devices that join with it wait for an operator to approve them [default: as the setting says].
    #[arg(long, value_name = "true|false")]
    approval: Option<bool>,
    /// How long it can be used, such as 12h or 7d [default: 1d].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
    /// A label of the devices that join with it; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// A group of the devices that join with it; may be repeated.
    #[arg(long)]
    group: Vec<String>,
}

/// `fleet tokens pin`
#[derive(Debug, Args)]
pub struct Pin {
    /// A name for it; one is made up when left out.
    #[arg(long)]
    name: Option<String>,
    /// From where it can be used, such as 10.0.0.0/8 or an address; may be repeated [default: anywhere].
    #[arg(long, value_name = "NETWORK")]
    network: Vec<String>,
    /// Whether the device waits for an operator to approve it [default: as the setting says].
    #[arg(long, value_name = "true|false")]
    approval: Option<bool>,
    /// A label of the device; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// A group of the device; may be repeated.
    #[arg(long)]
    group: Vec<String>,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("NAME", "/name", Show::Text),
    Column::new("STATE", "/state", Show::State),
    Column::new("PREFIX", "/prefix", Show::Text),
    Column::new("USES", "/uses", Show::Text),
    Column::new("MOST", "/max_uses", Show::Text),
    Column::new("TODAY", "/uses_today", Show::Text).wide(),
    Column::new("A DAY", "/daily_uses", Show::Text).wide(),
    Column::new("FROM", "/networks", Show::Text).wide(),
    Column::new("EXPIRES", "/expires_at", Show::Ago),
    Column::new("CREATED BY", "/created_by", Show::Actor).wide(),
    Column::new("LABELS", "/labels", Show::Labels).wide(),
    Column::new("DESCRIPTION", "/description", Show::Text),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List { paging } => {
            let path = ["enrolment-tokens"];
            context
                .list(&path, Query::new(), paging, COLUMNS, "no enrolment tokens")
                .await
        }
        Command::Show { token } => {
            let id = id_of(&context.client, &TOKEN, &token).await?;
            context.show(&["enrolment-tokens", &id]).await
        }
        Command::Create(create) => create.run(context).await,
        Command::Pin(pin) => pin.run(context).await,
        Command::Revoke { tokens } => {
            for token in &tokens {
                let id = id_of(&context.client, &TOKEN, token).await?;
                context.client.delete(&["enrolment-tokens", &id]).await?;
                context.output.done_to(&format!("revoked {token}"), &id)?;
            }
            Ok(())
        }
    }
}

impl Create {
    async fn run(self, context: &mut Context) -> Result<()> {
        let mut body = json!({"description": self.description});
        if let Some(name) = self.name {
            body["name"] = json!(name);
        }
        if let Some(uses) = self.max_uses {
            body["max_uses"] = json!(uses);
        }
        if let Some(uses) = self.daily_uses {
            body["daily_uses"] = json!(uses);
        }
        if let Some(approval) = self.approval {
            body["approval"] = json!(approval);
        }
        if !self.network.is_empty() {
            body["networks"] = json!(self.network);
        }
        if let Some(time) = self.expires {
            body["expires_in_seconds"] = json!(time.as_secs());
        }
        let labels: BTreeMap<_, _> = self.label.into_iter().collect();
        if !labels.is_empty() {
            body["labels"] = json!(labels);
        }
        let mut groups = Vec::new();
        for group in &self.group {
            groups.push(id_of(&context.client, &GROUP, group).await?);
        }
        if !groups.is_empty() {
            body["groups"] = json!(groups);
        }
        let created = context.client.post(&["enrolment-tokens"], &body, None).await?.body;
        match &created["token"] {
            // The bare text, to be kept in a file or handed on.
            Value::String(text) if context.output.format() == Format::Table => {
                note("this token is shown only now; enrol a machine with `fleet-agent enrol --token-file FILE`");
                context.output.text(&format!("{text}\n"))
            }
            _ => context.output.thing(&created),
        }
    }
}

impl Pin {
    async fn run(self, context: &mut Context) -> Result<()> {
        let labels: BTreeMap<_, _> = self.label.into_iter().collect();
        let mut groups = Vec::new();
        for group in &self.group {
            groups.push(id_of(&context.client, &GROUP, group).await?);
        }
        let mut body = json!({"labels": labels, "groups": groups, "networks": self.network, "approval": self.approval});
        if let Some(name) = self.name {
            body["name"] = json!(name);
        }
        let made = context.client.post(&["enrolment-pins"], &body, None).await?.body;
        match (&made["pin"], &made["server"]) {
            (Value::String(pin), Value::String(server)) if context.output.format() == Format::Table => {
                note(&format!(
                    "this PIN is good for one machine, for ten minutes: fleet-agent enrol --server {server} --pin {pin}"
                ));
                context.output.text(&format!("{pin}\n"))
            }
            _ => context.output.thing(&made),
        }
    }
}
