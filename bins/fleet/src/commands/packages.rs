//! Packages over the whole fleet.

use clap::Subcommand;

use super::{Context, Paging, with};
use crate::{
    client::{Query, Result},
    output::{Column, Show},
};

/// `fleet packages`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the packages that any device has, with their versions.
    List {
        /// Only those whose name has these words.
        #[arg(long, value_name = "WORDS")]
        search: Option<String>,
        /// Only those with an update on some device.
        #[arg(long)]
        updates: bool,
        #[command(flatten)]
        paging: Paging,
    },
    /// List the devices that have a package.
    #[command(after_help = "Example:\n  fleet packages devices openssl --below 3.0.15-1")]
    Devices {
        /// The package.
        name: String,
        /// Its package manager.
        #[arg(long, default_value = "dpkg")]
        manager: String,
        /// Only versions below this one.
        #[arg(long, value_name = "VERSION")]
        below: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
}

const COLUMNS: &[Column] = &[
    Column::new("NAME", "/name", Show::Text),
    Column::new("MANAGER", "/manager", Show::Text),
    Column::new("DEVICES", "/devices", Show::Text),
    Column::new("UPDATES", "/updates", Show::Text),
    Column::new("VERSIONS", "/versions", Show::Versions),
];

const DEVICES: &[Column] = &[
    Column::new("ID", "/device", Show::Id),
    Column::new("NAME", "/device_name", Show::Text),
    Column::new("VERSION", "/version", Show::Text),
    Column::new("ARCHITECTURE", "/architecture", Show::Text),
    Column::new("AVAILABLE", "/available_version", Show::Text),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List {
            search,
            updates,
            paging,
        } => {
            let mut query = Query::new();
            with(&mut query, "search", search);
            with(&mut query, "updates", updates.then_some(true));
            context.list(&["packages"], query, paging, COLUMNS, "no packages").await
        }
        Command::Devices {
            name,
            manager,
            below,
            paging,
        } => {
            let mut query = Query::new();
            with(&mut query, "below", below);
            let path = ["packages", &manager, &name, "devices"];
            context.list(&path, query, paging, DEVICES, "no device has it").await
        }
    }
}
