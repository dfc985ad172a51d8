//! Settings.

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Context, Paging};
use crate::{
    client::{Query, Result},
    output::{Column, Show},
};

/// `fleet settings`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List settings: the value that holds, and where it comes from.
    List,
    /// Store a value.
    #[command(after_help = "Example:\n  fleet settings set devices.offline_after_seconds 300")]
    Set {
        /// The setting.
        name: String,
        /// Its value, as JSON; anything else is taken as text.
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Forget the stored value, so that the default holds.
    Unset {
        /// The setting.
        name: String,
    },
}

const COLUMNS: &[Column] = &[
    Column::new("NAME", "/name", Show::Text),
    Column::new("VALUE", "/value", Show::Text),
    Column::new("SOURCE", "/source", Show::Text),
    Column::new("DEFAULT", "/default", Show::Text).wide(),
    Column::new("CHANGED", "/changed_at", Show::Ago).wide(),
    Column::new("DESCRIPTION", "/description", Show::Text),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List => {
            let every = Paging { limit: 500, all: true };
            context
                .list(&["settings"], Query::new(), every, COLUMNS, "no settings")
                .await
        }
        Command::Set { name, value } => {
            let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
            let setting = context
                .client
                .put(&["settings", &name], &json!({"value": value}))
                .await?
                .body;
            let said = match setting["source"].as_str() {
                Some(source) if source != "stored" => {
                    format!("{name} is stored; the value from the server's {source} holds")
                }
                _ => format!("{name} is set"),
            };
            context.output.done(&said, &setting)
        }
        Command::Unset { name } => {
            let setting = context.client.delete(&["settings", &name]).await?.body;
            context.output.done(&format!("{name} is back at its default"), &setting)
        }
    }
}
