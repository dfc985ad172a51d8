//! Agents: their releases, and updating them.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fleet_core::work::operations::agent_update;
use serde_json::{Value, json};

use super::{
    Context, Paging,
    asking::{How, On, work},
    with,
};
use crate::{
    client::{AGENT_RELEASE, Client, Exit, Failure, Query, Result, id_of},
    output::{Column, Show, note},
};

/// `fleet agents`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the releases of the agent that the server has, newest first.
    #[command(after_help = "\
On a machine: curl -fsSL https://SERVER/install.sh | sudo FLEET_TOKEN=\"$token\" sh
installs the newest that is not withdrawn.")]
    List {
        /// Only those for this platform, such as linux-x86_64.
        #[arg(long)]
        platform: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Upload programs of the agent: each becomes a release for the platform that it is for.
    #[command(after_help = "\
Example:
  fleet agents upload --version 1.4.0 dist/fleet-agent-linux-x86_64 dist/fleet-agent-linux-aarch64")]
    Upload(Upload),
    /// Hand a release out no more. It stays in the list.
    Withdraw {
        /// The release: its id, or the last 8 digits of it.
        release: String,
    },
    /// Have the agents of devices become another version of themselves, and follow it.
    #[command(after_help = "\
Examples:
  fleet agents update --on web-1
  fleet agents update --group canaries --version 1.4.0
  fleet agents update --all --spread 10m

An agent that does not connect as its new version comes back as the one before by itself.")]
    Update(Box<Update>),
}

/// `fleet agents update`
#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    how: How,
    /// The version to become [default: the newest that the server hands out].
    #[arg(long)]
    version: Option<String>,
    /// Also where it is older than what the device has; never below the rollback floor.
    #[arg(long)]
    allow_downgrade: bool,
    /// Try a version again that did not prove itself on a device before.
    #[arg(long)]
    retry_failed: bool,
}

/// `fleet agents upload`
#[derive(Debug, Args)]
pub struct Upload {
    /// The programs.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The version that they say they are.
    #[arg(long)]
    version: String,
    /// What the program is for, where its header does not say so.
    #[arg(long)]
    platform: Option<String>,
}

const PATH: &str = "agent-releases";

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("VERSION", "/version", Show::Text),
    Column::new("PLATFORM", "/platform", Show::Text),
    Column::new("SIZE", "/size_bytes", Show::Size),
    Column::new("SOURCE", "/source", Show::Text),
    Column::new("SINCE", "/created_at", Show::Ago),
    Column::new("WITHDRAWN", "/withdrawn_at", Show::Ago),
    Column::new("SHA-256", "/sha256", Show::Text),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List { platform, paging } => {
            let mut query = Query::new();
            with(&mut query, "platform", platform);
            let nothing = "the server has no agents: upload some with `fleet agents upload`";
            context.list(&[PATH], query, paging, COLUMNS, nothing).await
        }
        Command::Upload(upload) => {
            if upload.platform.is_some() && upload.files.len() > 1 {
                return Err(Failure::usage(
                    "--platform is for one file; several say themselves what they are for",
                ));
            }
            for file in &upload.files {
                let release = upload.send(&context.client, file).await?;
                let words = format!(
                    "{} is release {} for {}",
                    file.display(),
                    text(&release, "version"),
                    text(&release, "platform")
                );
                context.output.done(&words, &release)?;
            }
            Ok(())
        }
        Command::Update(update) => {
            let mut params = json!({
                "allow_downgrade": update.allow_downgrade,
                "retry_failed": update.retry_failed,
            });
            if let Some(version) = &update.version {
                params["version"] = json!(version);
            }
            work(context, &update.on, &update.how, agent_update::NAME, params).await
        }
        Command::Withdraw { release } => {
            let id = id_of(&context.client, &AGENT_RELEASE, &release).await?;
            let path = [PATH, &id, "withdraw"];
            let withdrawn = context.client.post(&path, &json!({}), None).await?.body;
            let words = format!(
                "{} for {} is handed out no more",
                text(&withdrawn, "version"),
                text(&withdrawn, "platform")
            );
            context.output.done(&words, &withdrawn)
        }
    }
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_default()
}

impl Upload {
    async fn send(&self, client: &Client, file: &Path) -> Result<Value> {
        let mut query: Query = vec![("version", self.version.clone())];
        with(&mut query, "platform", self.platform.clone());
        note(&format!("uploading {}", file.display()));
        let answer = client.upload(&[PATH], &query, file).await?;
        if text(&answer.body, "id").is_empty() {
            return Err(Failure::new(
                Exit::Failed,
                "answer",
                "the server's answer names no release",
            ));
        }
        Ok(answer.body)
    }
}
