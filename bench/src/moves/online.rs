//! A move while writers go on: how long they wait, and whether all is there that they were told is written.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use fleet_core::{
    kernel::{SystemClock, SystemRandom},
    modules,
    store::{Backend, Switch, group::Place, limits, migration::Migration},
};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::storage::{Ours, Source, Target as _, What};

/// Between two writes of one writer.
const REST: Duration = Duration::from_millis(5);
/// Writers; every other one sends heartbeats.
const WRITERS: u64 = 8;
/// How long they go on in the target.
const AFTERWARDS: Duration = Duration::from_millis(200);
/// How long a write may wait for the switch-over until it is refused: far longer than the switch-over may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an online move took.
#[derive(Clone, Debug, Serialize)]
pub struct Online {
    pub from: &'static str,
    pub to: &'static str,
    pub rows: u64,
    pub seconds: f64,
    /// From the freeze of the source until the target served.
    pub pause_ms: f64,
    /// The longest that a writer waited for an answer, at whatever moment.
    pub longest_write_ms: f64,
    /// Writes a second while it moved.
    pub writes: f64,
    /// Writes of this move and of those before it.
    pub acknowledged: usize,
    /// Of those, which the target does not hold as they were sent.
    pub lost: usize,
    pub attempts: u32,
}

/// Writers that remember what they were told is written, in one move after another.
#[derive(Clone)]
pub struct Writers {
    source: Source,
    next: Arc<AtomicU64>,
    acknowledged: Arc<Mutex<Vec<(What, u64)>>>,
}

impl Writers {
    /// They have written nothing.
    pub fn new() -> Self {
        Self {
            source: Source::new(),
            next: Arc::default(),
            acknowledged: Arc::default(),
        }
    }

    /// One of them: writes until it is stopped; the longest that it waited.
    async fn write(self, backend: Arc<dyn Backend>, what: What, stop: Arc<AtomicBool>) -> Result<Duration> {
        let ours = Ours {
            backend,
            source: self.source.clone(),
            what,
        };
        let mut longest = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let begun = Instant::now();
            ours.write(number).await?;
            longest = longest.max(begun.elapsed());
            self.remember().push((what, number));
            tokio::time::sleep(REST).await;
        }
        Ok(longest)
    }

    fn remember(&self) -> MutexGuard<'_, Vec<(What, u64)>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was acknowledged.
    fn acknowledged(&self) -> Vec<(What, u64)> {
        self.remember().clone()
    }

    /// How much of what was acknowledged a store does not hold as it was sent.
    async fn lost(&self, store: &Arc<dyn Backend>) -> Result<usize> {
        let mut lost = 0;
        for chunk in self.acknowledged().chunks(limits::KEYS) {
            let sent: Vec<_> = chunk
                .iter()
                .map(|(what, number)| Ok((what.lane(), self.source.pair(*what, *number)?)))
                .collect::<Result<_>>()?;
            let places: Vec<_> = sent
                .iter()
                .map(|(lane, pair)| Place {
                    lane,
                    stream: pair.stream,
                    at: pair.at,
                    n: pair.n,
                })
                .collect();
            let found = store.view().await?.rows_at(&places).await?;
            ensure!(found.len() == sent.len(), "it answered another question");
            lost += sent
                .iter()
                .zip(&found)
                .filter(|((_, pair), found)| found.as_ref().is_none_or(|found| found.row.body != pair.row))
                .count();
        }
        Ok(lost)
    }
}

/// Moves `source` into `target`, which is empty, while writers go on.
pub async fn online(source: Arc<dyn Backend>, target: Arc<dyn Backend>, writers: &Writers) -> Result<Online> {
    let (from, to) = (source.info().backend, target.info().backend);
    let schema = modules::schema(&modules::built_in()).map_err(|error| anyhow!(error.log()))?;
    // As a server has it.
    let switch = Switch::new(Arc::clone(&source), PATIENCE);
    let stop = Arc::new(AtomicBool::new(false));
    let before = writers.acknowledged().len();
    let mut writing = JoinSet::new();
    for writer in 0..WRITERS {
        let what = What::ALL[(writer % 2) as usize];
        let backend: Arc<dyn Backend> = Arc::new(switch.clone());
        writing.spawn(writers.clone().write(backend, what, Arc::clone(&stop)));
    }
    let begun = Instant::now();
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let migration = Migration::new(source, Arc::clone(&target), schema, clock, random);
    let report = migration.online(Some(&switch)).await;
    let seconds = begun.elapsed().as_secs_f64();
    let meanwhile = writers.acknowledged().len() - before;
    tokio::time::sleep(AFTERWARDS).await;
    stop.store(true, Ordering::Relaxed);
    let report = report?;
    let mut longest = Duration::ZERO;
    while let Some(ended) = writing.join_next().await {
        longest = longest.max(ended??);
    }
    let acknowledged = writers.acknowledged().len();
    ensure!(
        meanwhile > 0 && acknowledged > before + meanwhile,
        "nothing was written meanwhile, or behind it"
    );
    let millis = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    Ok(Online {
        from,
        to,
        rows: report
            .contents
            .as_ref()
            .map_or(report.copied.added, |contents| contents.records),
        seconds,
        pause_ms: millis(report.pause.context("an online move without a pause")?),
        longest_write_ms: millis(longest),
        writes: meanwhile as f64 / seconds,
        acknowledged,
        lost: writers.lost(&target).await?,
        attempts: report.attempts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Kind;

    #[tokio::test]
    async fn writers_go_on_and_what_is_missing_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let source = Kind::Memory.open(folder.path()).await.unwrap();
        let target = Kind::Json.open(folder.path()).await.unwrap();
        let writers = Writers::new();
        let moved = online(source, target.clone(), &writers).await.unwrap();
        assert_eq!((moved.from, moved.to, moved.lost), ("memory", "json", 0));
        assert!(moved.acknowledged > 0 && moved.pause_ms > 0.0, "{moved:?}");

        let never = writers.next.load(Ordering::Relaxed);
        for what in What::ALL {
            writers.remember().push((what, never));
        }
        assert_eq!(writers.lost(&target).await.unwrap(), 2);
        target.close().await.unwrap();
    }
}
