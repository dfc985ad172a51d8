//! Escrow: passwords and passphrases that devices made, and the server keeps.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Context, Paging, with};
use crate::{
    client::{Client, DEVICE, Exit, Failure, Query, Result, all, id_of},
    output::{Column, Show, note},
};

/// `fleet escrow`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what is kept of a device, without the secrets.
    #[command(after_help = "\
Examples:
  fleet escrow list web-1
  fleet escrow list 019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41     # of a device that was deleted, within 90 days, by its whole id")]
    List {
        /// The device.
        device: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// Read a secret: the one in use, and those that may be. That you read it stands in the audit.
    #[command(after_help = "\
Examples:
  fleet escrow reveal web-1 --user localadmin
  fleet escrow reveal web-1 --volume 6f1f0b1e-4a55-4f0e-9a0e-5f1d3c2b1a00
  fleet escrow reveal --id 019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41     # also one that was in use before")]
    Reveal(Reveal),
}

/// `fleet escrow reveal`
#[derive(Debug, Args)]
pub struct Reveal {
    /// The device.
    #[arg(required_unless_present = "id", requires = "subject")]
    device: Option<String>,
    #[command(flatten)]
    which: Which,
}

/// Which secrets.
#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false)]
struct Which {
    /// The password of this local user.
    #[arg(long, value_name = "NAME", group = "subject", requires = "device")]
    user: Option<String>,
    /// The passphrase of the disk with this LUKS UUID.
    #[arg(long, value_name = "UUID", group = "subject", requires = "device")]
    volume: Option<String>,
    /// The secret with this id.
    #[arg(long, value_name = "ID", conflicts_with = "device")]
    id: Option<String>,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Text),
    Column::new("KIND", "/kind", Show::Text),
    Column::new("SUBJECT", "/subject", Show::Text),
    Column::new("STATE", "/state", Show::State),
    Column::new("REASON", "/reason", Show::Text),
    Column::new("DEPOSITED", "/offered_at", Show::Ago),
    Column::new("IN USE SINCE", "/confirmed_at", Show::Ago),
    Column::new("RUN", "/source", Show::Id).wide(),
    Column::new("DEVICE GONE", "/device_gone_since", Show::Ago).wide(),
];

const REVEALED: &[Column] = &[
    Column::new("SECRET", "/secret", Show::Text),
    Column::new("STATE", "/about/state", Show::State),
    Column::new("SUBJECT", "/about/subject", Show::Text),
    Column::new("DEPOSITED", "/about/offered_at", Show::Ago),
    Column::new("ID", "/about/id", Show::Text).wide(),
];

/// Of one subject the server never keeps more.
const MOST: usize = 500;

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List { device, paging } => {
            let id = id_of(&context.client, &DEVICE, &device).await?;
            let path = ["devices", &id, "escrowed-secrets"];
            let nothing = "nothing is kept of this device";
            context.list(&path, Query::new(), paging, COLUMNS, nothing).await
        }
        Command::Reveal(reveal) => reveal.run(context).await,
    }
}

impl Reveal {
    async fn run(self, context: &mut Context) -> Result<()> {
        let ids = match self.which.id {
            Some(id) => vec![id],
            None => in_use(&context.client, self.device.as_deref().unwrap_or_default(), &self.which).await?,
        };
        let mut revealed = Vec::new();
        for id in &ids {
            let path = ["escrowed-secrets", id, "reveal"];
            revealed.push(context.client.post(&path, &json!({}), None).await?.body);
        }
        let is_doubtful = revealed.iter().any(|secret| secret["about"]["state"] == "offered");
        let mut list = context.output.list(REVEALED);
        list.page(&revealed)?;
        list.end("")?;
        if is_doubtful {
            note("an offered one may be in use: the device has not said. Try it where the current one does not fit");
        }
        Ok(())
    }
}

/// The ids of the secrets of a subject that are in use, or may be, the newest first.
async fn in_use(client: &Client, device: &str, which: &Which) -> Result<Vec<String>> {
    let id = id_of(client, &DEVICE, device).await?;
    let mut query = Query::new();
    let kind = match which.user {
        Some(_) => "local_password",
        None => "disk_passphrase",
    };
    with(&mut query, "kind", Some(kind));
    with(&mut query, "subject", which.user.as_ref().or(which.volume.as_ref()));
    let path = ["devices", &id, "escrowed-secrets"];
    let found = all(client, &path, query, MOST).await?;
    let ids: Vec<_> = found
        .iter()
        .filter(|secret| matches!(secret["state"].as_str(), Some("current" | "offered")))
        .filter_map(|secret| secret["id"].as_str().map(str::to_owned))
        .collect();
    match ids.is_empty() {
        false => Ok(ids),
        true => Err(Failure::new(
            Exit::NotFound,
            "escrowed_secret.not_found",
            format!("no secret of this is in use on {device}, as far as the server knows"),
        )
        .hint(format!("`fleet escrow list {device}` shows what is kept"))),
    }
}
