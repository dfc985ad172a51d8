//! Groups of devices.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Context, Paging};
use crate::{
    client::{DEVICE, Exit, Failure, GROUP, Query, Result, id_of},
    output::{Column, Show},
};

/// `fleet groups`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List groups.
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a group.
    Show {
        /// The group.
        group: String,
    },
    /// Make a group.
    Create {
        /// Its name.
        name: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
        /// Which devices are in it, such as 'os equals debian and labels.env in ("prod","stage")'; without it devices are put in by hand.
        #[arg(long)]
        query: Option<String>,
    },
    /// Change a group's name, description or query.
    Set(Set),
    /// Make a dynamic group static: its members of this moment stay in it, and it has no query any more.
    Freeze {
        /// The group.
        group: String,
    },
    /// Evaluate a dynamic group now, and say how many devices came into it and left it.
    Evaluate {
        /// The group.
        group: String,
    },
    /// Try a query: what it means, and which devices it describes.
    Check {
        /// The query.
        query: String,
        /// How many devices to show, at most 100.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Put devices into a group.
    Add(Members),
    /// Take devices out of a group.
    Remove(Members),
    /// Delete a group; its devices stay.
    Delete {
        /// The group.
        group: String,
    },
}

/// `fleet groups set`
#[derive(Debug, Args)]
pub struct Set {
    /// The group.
    group: String,
    /// Its new name.
    #[arg(long)]
    name: Option<String>,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    /// Which devices are in it. A group that devices were put into by hand becomes dynamic with it: whom the query does not describe
    /// leaves.
    #[arg(long)]
    query: Option<String>,
}

/// A group and devices.
#[derive(Debug, Args)]
pub struct Members {
    /// The group.
    group: String,
    /// The devices.
    #[arg(required = true)]
    devices: Vec<String>,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("NAME", "/name", Show::Text),
    Column::new("DEVICES", "/members", Show::Text),
    Column::new("CREATED", "/created_at", Show::Ago),
    Column::new("QUERY", "/query", Show::Text),
    Column::new("DESCRIPTION", "/description", Show::Text),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List { paging } => {
            context
                .list(&["device-groups"], Query::new(), paging, COLUMNS, "no groups")
                .await
        }
        Command::Show { group } => {
            let id = id_of(&context.client, &GROUP, &group).await?;
            context.show(&["device-groups", &id]).await
        }
        Command::Create {
            name,
            description,
            query,
        } => {
            let body = json!({"name": name, "description": description, "query": query});
            let group = context.client.post(&["device-groups"], &body, None).await?.body;
            context.output.done(&format!("created group {name}"), &group)
        }
        Command::Set(set) => {
            let mut change = Map::new();
            if let Some(name) = set.name {
                change.insert("name".into(), json!(name));
            }
            if let Some(description) = set.description {
                change.insert("description".into(), json!(description));
            }
            if let Some(query) = set.query {
                change.insert("query".into(), json!(query));
            }
            if change.is_empty() {
                return Err(Failure::usage("say what to change: --name, --description or --query"));
            }
            let id = id_of(&context.client, &GROUP, &set.group).await?;
            let words = format!("group {} is changed", set.group);
            context
                .change(&["device-groups", &id], &Value::Object(change), &words)
                .await
        }
        Command::Freeze { group } => {
            let id = id_of(&context.client, &GROUP, &group).await?;
            let words = format!("group {group} is static");
            let change = json!({"query": null});
            context.change(&["device-groups", &id], &change, &words).await
        }
        Command::Evaluate { group } => {
            let id = id_of(&context.client, &GROUP, &group).await?;
            let path = ["device-groups", &id, "evaluate"];
            let done = context.client.post(&path, &json!({}), None).await?.body;
            let words = format!("{group}: {} came in, {} left", done["added"], done["removed"]);
            context.output.done(&words, &done)
        }
        Command::Check { query, limit } => check(context, &query, limit).await,
        Command::Add(members) => change_members(context, members, true).await,
        Command::Remove(members) => change_members(context, members, false).await,
        Command::Delete { group } => {
            let id = id_of(&context.client, &GROUP, &group).await?;
            context.client.delete(&["device-groups", &id]).await?;
            context.output.done_to(&format!("deleted group {group}"), &id)
        }
    }
}

async fn change_members(context: &mut Context, members: Members, add: bool) -> Result<()> {
    let group = id_of(&context.client, &GROUP, &members.group).await?;
    let mut ids = Vec::new();
    for device in &members.devices {
        ids.push(id_of(&context.client, &DEVICE, device).await?);
    }
    for (device, id) in members.devices.iter().zip(&ids) {
        let path = ["device-groups", &group, "devices", id];
        let words = if add {
            context.client.put(&path, &json!({})).await?;
            format!("{device} is in group {}", members.group)
        } else {
            context.client.delete(&path).await?;
            format!("{device} is not in group {} any more", members.group)
        };
        context.output.done_to(&words, id)?;
    }
    Ok(())
}

async fn check(context: &mut Context, query: &str, limit: u32) -> Result<()> {
    let body = json!({"query": query, "limit": limit});
    let path = ["device-groups", "check-query"];
    let checked = context.client.post(&path, &body, None).await?.body;
    let text = |pointer| checked.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if checked.pointer("/valid") == Some(&Value::Bool(false)) {
        let before = checked.pointer("/problem/position").and_then(Value::as_u64);
        let place = before.unwrap_or_default() + 1;
        let why = format!("{} (at character {place})", text("/problem/message"));
        return Err(Failure::new(Exit::Usage, text("/problem/code"), why));
    }
    context.output.thing(&checked)
}
