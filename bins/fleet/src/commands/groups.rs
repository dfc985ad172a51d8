//! Groups of devices.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Context, Paging};
use crate::{
    client::{DEVICE, Failure, GROUP, Query, Result, id_of},
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
    },
    /// Change a group's name or description.
    Set(Set),
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
        Command::Create { name, description } => {
            let body = json!({"name": name, "description": description});
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
            if change.is_empty() {
                return Err(Failure::usage("say what to change: --name or --description"));
            }
            let id = id_of(&context.client, &GROUP, &set.group).await?;
            let words = format!("group {} is changed", set.group);
            context
                .change(&["device-groups", &id], &Value::Object(change), &words)
                .await
        }
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
