//! The server's store: what it is, checks, backups, moves.

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
    /// Say what a move of the store to another backend would do, and what stands in its way.
    Plan {
        /// The store to move to: sqlite:PATH, json:PATH or postgres://… (paths are the server's).
        to: String,
    },
    /// Move the store to another backend while the server goes on, and wait for it.
    #[command(
        after_help = "Example:\n  fleet storage move postgres://fleet@db.example.org/fleet\n\n\
                            Start the server with the new URI from then on. `fleet storage back` takes the move back."
    )]
    Move {
        /// The store to move to: sqlite:PATH, json:PATH or postgres://… (paths are the server's).
        to: String,
    },
    /// List the moves that the server made since it was started.
    Moves,
    /// Show how far a move is.
    Status {
        /// The move's whole id.
        id: String,
    },
    /// Take a move back: what was written since is carried.
    Back {
        /// The move's whole id.
        id: String,
    },
    /// Give up a move that is under way.
    Cancel {
        /// The move's whole id.
        id: String,
    },
}

const COLUMNS: &[Column] = &[
    Column::new("MADE", "/made_at", Show::Ago),
    Column::new("OUTCOME", "/outcome/is", Show::State),
    Column::new("SIZE", "/outcome/bytes", Show::Size),
    Column::new("RECORDS", "/outcome/records", Show::Text),
    Column::new("BLOBS", "/blobs/count", Show::Text),
    Column::new("KEY INSIDE", "/outcome/key_included", Show::Text),
    Column::new("WHY", "/trigger", Show::Text),
    Column::new("FILE", "/file", Show::Text),
    Column::new("FOLDER", "/folder", Show::Text).wide(),
    Column::new("DIGEST", "/outcome/digest", Show::Text).wide(),
    Column::new("PROBLEM", "/outcome/problem", Show::Text).wide(),
    Column::new("BLOBS DAMAGED", "/blobs/damaged", Show::Text).wide(),
];

const MOVES: &[Column] = &[
    Column::new("ID", "/id", Show::Text),
    Column::new("STATE", "/state", Show::State),
    Column::new("TO", "/to", Show::Text),
    Column::new("BEGAN", "/began_at", Show::Ago),
    Column::new("DOING", "/doing", Show::Text),
    Column::new("RECORDS", "/records", Show::Text),
    Column::new("PAUSE (MS)", "/pause_ms", Show::Text),
    Column::new("PROBLEM", "/problem", Show::Text),
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
        Command::Plan { to } => {
            let plan = context
                .client
                .post(&["storage", "plan"], &json!({"to": to}), None)
                .await?;
            context.output.thing(&plan.body)?;
            if plan.body["possible"] == true {
                Ok(())
            } else {
                Err(Failure::new(
                    Exit::Conflict,
                    "storage.move_refused",
                    "something stands in the way",
                ))
            }
        }
        Command::Move { to } => {
            let begun = context
                .client
                .post(&["storage", "moves"], &json!({"to": to}), None)
                .await?;
            follow(context, begun.body).await
        }
        Command::Back { id } => {
            let path = ["storage", "moves", &id, "back"];
            let begun = context.client.post(&path, &json!({}), None).await?;
            follow(context, begun.body).await
        }
        Command::Moves => {
            let paging = Paging { limit: 500, all: true };
            let nothing = "no moves since the server was started";
            context
                .list(&["storage", "moves"], Query::new(), paging, MOVES, nothing)
                .await
        }
        Command::Status { id } => context.show(&["storage", "moves", &id]).await,
        Command::Cancel { id } => {
            let path = ["storage", "moves", &id, "cancel"];
            let cancelled = context.client.post(&path, &json!({}), None).await?.body;
            context.output.done("the move is given up", &cancelled)
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

/// Waits until a move is over, and says what it does meanwhile.
async fn follow(context: &mut Context, begun: Value) -> Result<()> {
    let id = begun["id"].as_str().unwrap_or_default().to_owned();
    let mut doing = String::new();
    loop {
        let now = context.client.get(&["storage", "moves", &id], &[]).await?.body;
        if now["state"] != "running" {
            context.output.thing(&now)?;
            if now["state"] == "done" {
                note("start the server with --storage and the new store from now on");
                return Ok(());
            }
            return Err(Failure::new(
                Exit::Failed,
                "storage.not_moved",
                "the store was not moved",
            ));
        }
        if let Some(next) = now["doing"].as_str()
            && next != doing
        {
            next.clone_into(&mut doing);
            note(&format!("{} ({id})", doing.replace('_', " ")));
        }
        tokio::time::sleep(ASK).await;
    }
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
