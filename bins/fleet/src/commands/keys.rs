//! API keys.

use std::time::Duration;

use clap::{Args, Subcommand};
use fleet_core::kernel::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::{Context, Paging, duration, users::Role};
use crate::{
    client::{KEY, Query, Result, USER, id_of},
    output::{Column, Format, Show, note},
};

/// `fleet keys`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List API keys; their tokens are shown once, when they are made.
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Make an API key and print its token, this once.
    #[command(after_help = "\
Examples:
  fleet keys create backup-report --role viewer --expires 90d
  fleet keys create 'Calendar of ana' --calendar")]
    Create(Create),
    /// Delete API keys.
    Delete {
        /// The keys.
        #[arg(required = true)]
        keys: Vec<String>,
    },
}

/// `fleet keys create`
#[derive(Debug, Args)]
pub struct Create {
    /// Its name.
    name: String,
    /// The most that it may do; never more than its owner.
    #[arg(long, value_enum, required_unless_present = "calendar")]
    role: Option<Role>,
    /// It opens the calendar of windows and plans and nothing else: prints the address that calendar programs subscribe to.
    #[arg(long, conflicts_with = "role")]
    calendar: bool,
    /// How long it is valid, such as 90d; for ever when left out.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
    /// For whom it acts; for you when left out.
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("NAME", "/name", Show::Text),
    Column::new("ROLE", "/role", Show::Text),
    Column::new("OPENS", "/purpose", Show::Text),
    Column::new("PREFIX", "/prefix", Show::Text),
    Column::new("EXPIRES", "/expires_at", Show::Ago),
    Column::new("USED", "/last_used_at", Show::Ago),
    Column::new("FROM", "/last_used_from", Show::Text).wide(),
    Column::new("OWNER", "/owner", Show::Id).wide(),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List { paging } => {
            context
                .list(&["keys"], Query::new(), paging, COLUMNS, "no API keys")
                .await
        }
        Command::Create(create) => {
            let role = create.role.unwrap_or(Role::Viewer);
            let mut body = json!({"name": create.name, "role": role.name()});
            if create.calendar {
                body["purpose"] = json!("calendar");
            }
            if let Some(time) = create.expires {
                body["expires_at"] = json!(SystemClock.now().plus(time));
            }
            if let Some(owner) = &create.owner {
                body["owner"] = json!(id_of(&context.client, &USER, owner).await?);
            }
            let created = context.client.post(&["keys"], &body, None).await?.body;
            match &created["token"] {
                Value::String(text) if context.output.format() == Format::Table => {
                    note("this token is shown only now");
                    let shown = match create.calendar {
                        true => format!("{}/api/v1/windows/calendar.ics?token={text}\n", context.client.url()),
                        false => format!("{text}\n"),
                    };
                    context.output.text(&shown)
                }
                _ => context.output.thing(&created),
            }
        }
        Command::Delete { keys } => {
            for key in &keys {
                let id = id_of(&context.client, &KEY, key).await?;
                context.client.delete(&["keys", &id]).await?;
                context.output.done_to(&format!("deleted key {key}"), &id)?;
            }
            Ok(())
        }
    }
}
