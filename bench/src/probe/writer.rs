//! One connection that writes groups of rows, each group in one transaction and one statement.

use std::{fmt::Write as _, future::Future, path::Path, time::Duration};

use anyhow::Result;
use axum::body::Bytes;
use fleet_storage_sqlite::SqliteOptions;
use sqlx::{
    ConnectOptions as _, Connection as _,
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use uuid::Uuid;

/// Rows that wait; more of them wait for room.
const QUEUE: usize = 4_096;

struct Pending {
    id: Uuid,
    body: Bytes,
    reply: oneshot::Sender<()>,
}

/// Hands rows to the task that writes.
#[derive(Debug)]
pub struct Writer(mpsc::Sender<Pending>);

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub transactions: u64,
    pub works: u64,
}

/// How long a group waits for company and how large it grows: those of our store.
struct Group {
    linger: Duration,
    size: usize,
}

impl Writer {
    /// Opens a database; the future writes until the last [`Writer`] is dropped.
    pub async fn open(path: &Path) -> Result<(Self, impl Future<Output = Result<Counts>> + Send + use<>)> {
        let mut connection = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", "-32768")
            .pragma("wal_autocheckpoint", "4096")
            .pragma("journal_size_limit", "67108864")
            .disable_statement_logging()
            .connect()
            .await?;
        sqlx::query("CREATE TABLE IF NOT EXISTS latest (id BLOB NOT NULL PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID")
            .execute(&mut connection)
            .await?;
        let ours = SqliteOptions::default();
        let group = Group {
            linger: ours.linger,
            size: ours.linger_items.min(ours.group),
        };
        let (sender, queue) = mpsc::channel(QUEUE);
        Ok((Self(sender), work(connection, queue, group)))
    }

    /// Writes a row; true once it is durable.
    pub async fn write(&self, id: Uuid, body: Bytes) -> bool {
        let (reply, written) = oneshot::channel();
        self.0.send(Pending { id, body, reply }).await.is_ok() && written.await.is_ok()
    }
}

async fn work(mut connection: SqliteConnection, mut queue: mpsc::Receiver<Pending>, limit: Group) -> Result<Counts> {
    let mut counts = Counts::default();
    while let Some(first) = queue.recv().await {
        let deadline = Instant::now() + limit.linger;
        let mut group = vec![first];
        while group.len() < limit.size {
            match queue.try_recv() {
                Ok(pending) => group.push(pending),
                Err(_) => match timeout_at(deadline, queue.recv()).await {
                    Ok(Some(pending)) => group.push(pending),
                    Ok(None) | Err(_) => break,
                },
            }
        }
        write(&mut connection, &group).await?;
        counts.transactions += 1;
        counts.works += group.len() as u64;
        for pending in group {
            // Whoever asked may have gone.
            let _ = pending.reply.send(());
        }
    }
    connection.close().await?;
    Ok(counts)
}

async fn write(connection: &mut SqliteConnection, group: &[Pending]) -> Result<()> {
    let (mut places, mut bytes) = (String::from("["), Vec::new());
    for pending in group {
        let separator = if bytes.is_empty() { "" } else { "," };
        // SQL counts from one; the body stands behind the id.
        write!(places, "{separator}[{},{}]", bytes.len() + 1, pending.body.len())?;
        bytes.extend_from_slice(pending.id.as_bytes());
        bytes.extend_from_slice(&pending.body);
    }
    places.push(']');
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    sqlx::query(
        "INSERT INTO latest (id, body) SELECT substr(?2, j.value->>0, 16), substr(?2, (j.value->>0) + 16, j.value->>1) \
         FROM json_each(?1) j WHERE true ON CONFLICT (id) DO UPDATE SET body = excluded.body",
    )
    .bind(places)
    .bind(bytes)
    .execute(&mut *connection)
    .await?;
    sqlx::query("COMMIT").execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;

    #[tokio::test]
    async fn the_newest_body_of_each_id_is_in_the_file_when_it_is_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.db");
        let (writer, work) = Writer::open(&path).await.unwrap();
        let work = tokio::spawn(work);
        let ids = [Uuid::from_u128(1), Uuid::from_u128(2)];
        for body in ["first", "second, longer"] {
            let written = ids.map(|id| writer.write(id, Bytes::from(format!("{body} of {id}"))));
            assert_eq!(futures::future::join_all(written).await, [true, true]);
        }
        let mut reader = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        let rows = sqlx::query("SELECT id, body FROM latest ORDER BY id");
        let rows: Vec<(Uuid, Vec<u8>)> = rows
            .fetch_all(&mut reader)
            .await
            .unwrap()
            .iter()
            .map(|row| (Uuid::from_slice(row.get(0)).unwrap(), row.get(1)))
            .collect();
        assert_eq!(rows, ids.map(|id| (id, format!("second, longer of {id}").into_bytes())));
        drop(writer);
        assert_eq!(work.await.unwrap().unwrap().works, 4);
    }
}
