//! Certificate authorities.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::{Context, Paging};
use crate::{
    client::{AUTHORITY, Failure, Query, Result, id_of},
    output::{Column, Show},
};

/// `fleet authorities`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the authorities, the one that issues first.
    List,
    /// Print the certificates of all authorities that are trusted, in PEM.
    #[command(
        after_help = "Example:\n  fleet authorities export > fleet-ca.pem && curl --cacert fleet-ca.pem https://fleet.example.org/healthz"
    )]
    Export,
    /// Announce a new authority. It is trusted from now on, and issues in two days by itself.
    #[command(after_help = "\
Examples:
  fleet authorities create
  openssl genpkey -algorithm ed25519 -out ca.key && fleet authorities create --key-file ca.key")]
    Create {
        /// A private key to bring along: Ed25519, PKCS#8 in PEM. Without it the server makes one.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Let an announced authority issue from now on; the former retires. Devices that have not heard of it learn of it when
    /// they connect.
    Promote {
        /// The authority.
        authority: String,
    },
    /// Trust an authority no more: what it issued is worth nothing from then on.
    Delete {
        /// The authority.
        authority: String,
    },
}

const PATH: &str = "certificate-authorities";

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("STATE", "/state", Show::State),
    Column::new("SINCE", "/since", Show::Ago),
    Column::new("ENDS", "/not_after", Show::Text),
    Column::new("FINGERPRINT", "/fingerprint", Show::Text),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List => {
            let every = Paging { limit: 500, all: true };
            context
                .list(&[PATH], Query::new(), every, COLUMNS, "no authorities")
                .await
        }
        Command::Export => {
            let all = context.client.get(&[PATH], &[]).await?.body;
            let pems = all["items"].as_array().into_iter().flatten();
            let pems: String = pems
                .filter_map(|authority| authority["certificate_pem"].as_str())
                .collect();
            context.output.text(&pems)
        }
        Command::Create { key_file } => {
            let mut body = json!({});
            if let Some(path) = key_file {
                let key = std::fs::read_to_string(&path)
                    .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
                body["private_key_pem"] = json!(key);
            }
            let made = context.client.post(&[PATH], &body, None).await?.body;
            context.output.done("announced", &made)
        }
        Command::Promote { authority } => {
            let id = id_of(&context.client, &AUTHORITY, &authority).await?;
            let path = [PATH, &id, "promote"];
            let promoted = context.client.post(&path, &json!({}), None).await?.body;
            context
                .output
                .done(&format!("{authority} issues from now on"), &promoted)
        }
        Command::Delete { authority } => {
            let id = id_of(&context.client, &AUTHORITY, &authority).await?;
            context.client.delete(&[PATH, &id]).await?;
            context.output.done_to(&format!("{authority} is trusted no more"), &id)
        }
    }
}
