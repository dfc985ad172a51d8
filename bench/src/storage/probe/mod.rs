//! The bare engines: one writer that stores groups of bodies, and nothing else. The same bytes, the same synchronisation and the
//! same groups as our store, and the indexes of the columns that are written. What our store computes is there for the probe: it
//! decides nothing, has no preconditions and no index by time, and hashes nothing.

mod json;
mod postgres;
mod sqlite;

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

pub use self::{
    json::JsonProbe,
    postgres::{PostgresProbe, postgres_connection},
    sqlite::{SqliteProbe, sqlite_connection},
};

use super::load::{Pair, Source, Target, What};

/// Pairs that wait; more of them wait for room.
const QUEUE: usize = 4_096;

/// An engine: stores a group, durable on return.
#[async_trait]
pub trait Engine: Send + 'static {
    async fn store(&mut self, group: &[Pair]) -> Result<()>;
    async fn close(self: Box<Self>) -> Result<()>;
}

/// How long a group waits for company and how large it grows: those of the store that it is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// For heartbeats; changes do not wait.
    pub linger: Duration,
    /// Bodies and rows that end the wait.
    pub linger_items: usize,
    /// The most pairs.
    pub most: usize,
}

struct Pending {
    pair: Pair,
    reply: oneshot::Sender<()>,
}

/// Hands pairs to the task that writes.
pub struct Probe {
    queue: mpsc::Sender<Pending>,
    source: Source,
    what: What,
}

impl Probe {
    /// Starts the writer; it ends when the probe is dropped, and says then whether all went well.
    pub fn start(engine: Box<dyn Engine>, group: Group, source: Source, what: What) -> (Self, JoinHandle<Result<()>>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let group = match what {
            What::Heartbeats => group,
            What::Commits => Group {
                linger: Duration::ZERO,
                ..group
            },
        };
        (
            Self { queue, source, what },
            tokio::spawn(work(engine, receiver, group)),
        )
    }
}

#[async_trait]
impl Target for Probe {
    async fn write(&self, number: u64) -> Result<()> {
        let pair = self.source.pair(self.what, number)?;
        let (reply, written) = oneshot::channel();
        let sent = self.queue.send(Pending { pair, reply }).await;
        sent.ok().context("the probe's writer has ended")?;
        written.await.context("the probe's writer has failed")
    }
}

async fn work(mut engine: Box<dyn Engine>, mut queue: mpsc::Receiver<Pending>, limit: Group) -> Result<()> {
    while let Some(first) = queue.recv().await {
        let deadline = Instant::now() + limit.linger;
        let (mut pairs, mut replies) = (vec![first.pair], vec![first.reply]);
        while pairs.len() < limit.most {
            let lingers = !limit.linger.is_zero() && 2 * pairs.len() < limit.linger_items;
            let next = match queue.try_recv() {
                Ok(pending) => Some(pending),
                Err(_) if lingers => timeout_at(deadline, queue.recv()).await.ok().flatten(),
                Err(_) => None,
            };
            let Some(pending) = next else { break };
            pairs.push(pending.pair);
            replies.push(pending.reply);
        }
        engine.store(&pairs).await?;
        for reply in replies {
            // Whoever asked may have gone.
            let _ = reply.send(());
        }
        // Those who were answered may have more to write.
        tokio::task::yield_now().await;
    }
    engine.close().await
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions as _, Row as _, sqlite::SqliteConnectOptions};

    use super::{
        super::{Kind, load::Ours},
        *,
    };

    const GROUP: Group = Group {
        linger: Duration::from_millis(1),
        linger_items: 8,
        most: 4,
    };

    async fn write_all(engine: Box<dyn Engine>, what: What) {
        let (probe, done) = Probe::start(engine, GROUP, Source::new(), what);
        let written = (0..1_100).map(|number| probe.write(number));
        assert!(futures::future::join_all(written).await.iter().all(Result::is_ok));
        drop(probe);
        done.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn sqlite_holds_the_newest_body_of_each_id_and_every_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.db");
        for what in What::ALL {
            write_all(Box::new(SqliteProbe::open(&path, true, what).await.unwrap()), what).await;
        }
        let mut reader = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        let counted = "SELECT (SELECT count(*) FROM state), (SELECT count(*) FROM sample), (SELECT count(*) FROM link), \
                       (SELECT count(*) FROM audit)";
        let counts = sqlx::query(counted).fetch_one(&mut reader).await.unwrap();
        let counts = [0, 1, 2, 3].map(|n| counts.get::<i64, _>(n));
        assert_eq!(counts, [1_000, 1_100, 1_000, 1_100]);
        let pair = Source::new().pair(What::Commits, 1_050).unwrap();
        let link = sqlx::query("SELECT body, server FROM link WHERE id = ?1").bind(pair.id.as_bytes().to_vec());
        let link = link.fetch_one(&mut reader).await.unwrap();
        assert_eq!(link.get::<Vec<u8>, _>(0), pair.body);
        assert_eq!(link.get::<Vec<u8>, _>(1), uuid::Uuid::from_u128(7).as_bytes());
        let audit = sqlx::query("SELECT body, action, outcome, subject FROM audit WHERE stream = ?1");
        let audit = audit
            .bind(pair.stream.as_bytes().to_vec())
            .fetch_one(&mut reader)
            .await
            .unwrap();
        assert_eq!(audit.get::<Vec<u8>, _>(0), pair.row);
        assert_eq!(
            (audit.get::<&str, _>(1), audit.get::<&str, _>(2)),
            ("device.update", "done")
        );
        assert_eq!(audit.get::<Vec<u8>, _>(3), pair.id.as_bytes());
    }

    #[tokio::test]
    async fn json_holds_the_bytes_that_our_store_writes() {
        for what in What::ALL {
            let folder = tempfile::tempdir().unwrap();
            let backend = Kind::Json.open(folder.path()).await.unwrap();
            let source = Source::new();
            let ours = Ours {
                backend: backend.clone(),
                source: source.clone(),
                what,
            };
            let probe = folder.path().join("probe");
            let mut engine = JsonProbe::open(&probe, what).unwrap();
            for number in 1..=20 {
                ours.write(number).await.unwrap();
                engine.store(&[source.pair(what, number).unwrap()]).await.unwrap();
            }
            let journal = folder.path().join("json/journal/00000000000000000001.ndjson");
            let [probe, journal] = [probe, journal].map(|path| std::fs::read_to_string(path).unwrap());
            assert_eq!(probe, journal, "{what:?}");
            // This writes a line of its own.
            backend.close().await.unwrap();
        }
    }
}
