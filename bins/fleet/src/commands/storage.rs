//! The server's store: what it is, checks, backups.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Context, Paging};
use crate::{
    client::{Exit, Failure, Query, Result},
    output::{Column, Show, note},
};

/// How often it is asked whether something is over.
const ASK: Duration = Duration::from_millis(500);

/// `fleet storage`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the store: backend, contents, the last check and backup, what is under way.
    Show,
    /// Look for damage in the store, and wait for the result.
    Check,
    /// Have a backup of the server made, and wait for it.
    #[command(
        after_help = "Settings: storage.backup_folder, storage.backup_every_hours, storage.backup_keep. A backup is verified and restored with\n\
                            `fleet-server backup verify` and `fleet-server restore` where the file is."
    )]
    Backup,
    /// List the backups of the server, newest first.
    Backups {
        #[command(flatten)]
        paging: Paging,
    },
}

const COLUMNS: &[Column] = &[
    Column::new("MADE", "/made_at", Show::Ago),
    Column::new("OUTCOME", "/outcome/is", Show::State),
    Column::new("SIZE", "/outcome/bytes", Show::Size),
    Column::new("RECORDS", "/outcome/records", Show::Text),
    Column::new("KEY INSIDE", "/outcome/key_included", Show::Text),
    Column::new("WHY", "/trigger", Show::Text),
    Column::new("FILE", "/file", Show::Text),
    Column::new("FOLDER", "/folder", Show::Text).wide(),
    Column::new("DIGEST", "/outcome/digest", Show::Text).wide(),
    Column::new("PROBLEM", "/outcome/problem", Show::Text).wide(),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::Show => context.show(&["storage"]).await,
        Command::Check => check(context).await,
        Command::Backup => backup(context).await,
        Command::Backups { paging } => {
            let path = ["storage", "backups"];
            context
                .list(&path, Query::new(), paging, COLUMNS, "no backups yet")
                .await
        }
    }
}

async fn check(context: &mut Context) -> Result<()> {
    context.client.post(&["storage", "check"], &json!({}), None).await?;
    let store = over(context).await?;
    let found = &store["last_check"];
    context.output.thing(found)?;
    if found["healthy"] == true {
        Ok(())
    } else {
        Err(Failure::new(Exit::Failed, "storage.damaged", "the store is not well"))
    }
}

async fn backup(context: &mut Context) -> Result<()> {
    let before = newest(context).await?;
    context.client.post(&["storage", "backups"], &json!({}), None).await?;
    over(context).await?;
    let made = newest(context).await?;
    if made["id"] == before["id"] {
        return Err(Failure::new(
            Exit::Failed,
            "storage.backup_failed",
            "no backup was made; the server's log says why",
        ));
    }
    context.output.thing(&made)?;
    if made["outcome"]["is"] != "done" {
        return Err(Failure::new(Exit::Failed, "storage.backup_failed", "the backup failed"));
    }
    if made["outcome"]["key_included"] == false {
        note("the master key is not in it: keep its file apart, or start the server with --backup-passphrase-file");
    }
    Ok(())
}

async fn newest(context: &mut Context) -> Result<Value> {
    let page = context
        .client
        .get(&["storage", "backups"], &[("limit", "1".to_owned())])
        .await?;
    Ok(page.body["items"][0].clone())
}

/// Waits until nothing is under way; the store as it is then.
async fn over(context: &mut Context) -> Result<Value> {
    loop {
        let store = context.client.get(&["storage"], &[]).await?.body;
        if store["activity"].is_null() {
            return Ok(store);
        }
        tokio::time::sleep(ASK).await;
    }
}
