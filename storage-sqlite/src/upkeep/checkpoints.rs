//! Checkpoints of a store that is being filled: on a connection of their own, beside the patches.
//!
//! Left to the connection that writes, they take a fifth of its time. Beside it they never reach the end of the log, so that the
//! log grows; before it is too long the writer waits for one that does, and the engine uses the log from its beginning again.

use std::sync::Arc;

use fleet_core::store::{Error, Result};
use sqlx::{Connection as _, Row as _, sqlite::SqliteConnection};
use tokio::task::JoinHandle;

use crate::{error::from_engine, file::Place, options::SqliteOptions, sql::literal};

/// Transactions after which there is one: of patches of 1 MB at most, 16 MB.
const EACH: u32 = 16;

/// Transactions after which it waits for the one before: a log of about 64 MB.
const MOST: u32 = 64;

/// Pages of a log that is too long: 96 MB.
const LOG: i64 = 24_576;

/// A connection that makes checkpoints, and how many pages the log had when it made one.
type Made = Result<(SqliteConnection, i64)>;

#[derive(Debug)]
pub(crate) struct Checkpoints {
    place: Arc<Place>,
    options: SqliteOptions,
    idle: Option<SqliteConnection>,
    running: Option<JoinHandle<Made>>,
    /// Since the last one was begun.
    transactions: u32,
}

impl Checkpoints {
    pub(crate) fn new(place: Arc<Place>, options: SqliteOptions) -> Self {
        Self {
            place,
            options,
            idle: None,
            running: None,
            transactions: 0,
        }
    }

    /// A transaction was committed, and the next one has not begun. What fails here has failed for the file as a whole.
    pub(crate) async fn committed(&mut self) -> Result<()> {
        self.transactions += 1;
        let busy = self.running.as_ref().is_some_and(|running| !running.is_finished());
        if self.transactions < if busy { MOST } else { EACH } {
            return Ok(());
        }
        self.transactions = 0;
        let pages = self.wait().await?;
        let (place, options, idle) = (Arc::clone(&self.place), self.options.clone(), self.idle.take());
        self.running = Some(tokio::spawn(make(place, options, idle)));
        if pages >= LOG {
            self.wait().await?;
        }
        Ok(())
    }

    /// Waits for the one that is being made; how many pages the log had then.
    async fn wait(&mut self) -> Result<i64> {
        let Some(running) = self.running.take() else {
            return Ok(0);
        };
        let (conn, pages) = running.await.map_err(|error| Error::Unavailable(Box::new(error)))??;
        self.idle = Some(conn);
        Ok(pages)
    }

    /// Waits for the one that is being made, and closes the connection.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.wait().await?;
        match self.idle {
            Some(conn) => conn.close().await.map_err(from_engine),
            None => Ok(()),
        }
    }
}

async fn make(place: Arc<Place>, options: SqliteOptions, idle: Option<SqliteConnection>) -> Made {
    let mut conn = match idle {
        Some(conn) => conn,
        None => place.connect_writer(&options).await?,
    };
    // Waits for nobody: what a view still looks at is left for the next one.
    let row = literal("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut conn).await;
    let pages = row.and_then(|row| row.try_get(1)).map_err(from_engine)?;
    Ok((conn, pages))
}
