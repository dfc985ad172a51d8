//! Rows of a migration a second: the engine of core, which reads back and verifies, beside a bare copy that does neither.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow};
use fleet_bench_dataset::{Dataset, Size};
use fleet_core::{
    kernel::{SystemClock, SystemRandom},
    modules,
    store::{Backend, migration::Migration},
};
use futures::StreamExt as _;

use super::{
    Kind,
    bare::{Copying, plain},
};

/// A figure of one turn.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    /// Rows a second from the first to the last step, verification included.
    pub rate: f64,
    /// Rows a second while they were copied.
    pub copying: f64,
    /// Rows a second of the bare copy.
    pub probe: f64,
}

/// Moves a fleet from one backend into an empty other, and copies the same records barely.
pub async fn turn(from: Kind, to: Kind, devices: usize) -> Result<Moved> {
    let folder = tempfile::Builder::new().prefix("fleet-bench-").tempdir()?;
    let place = |name: &str| -> Result<PathBuf> {
        let place = folder.path().join(name);
        std::fs::create_dir_all(&place)?;
        Ok(place)
    };
    let source = from.open(&place("source")?).await?;
    Dataset::new(1, Size::of(devices)).fill(&source, |_| ()).await?;
    let probe = bare(from, to, &source, &place("bare")?).await?;
    let target = to.open(&place("target")?).await?;
    let schema = modules::schema(&modules::built_in()).map_err(|error| anyhow!(error.log()))?;
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let migration = Migration::new(source.clone(), target.clone(), schema, clock, random);
    let begun = Instant::now();
    let report = migration.run().await?;
    let seconds = begun.elapsed().as_secs_f64();
    source.close().await?;
    target.close().await?;
    let rows = report.contents.as_ref().context("a move without contents")?.records as f64;
    Ok(Moved {
        rate: rows / seconds,
        copying: rows / report.copying.as_secs_f64(),
        probe,
    })
}

/// Copies the records barely, from the one engine into the other; rows a second.
async fn bare(from: Kind, to: Kind, source: &Arc<dyn Backend>, folder: &Path) -> Result<f64> {
    let mut copying = Copying::new(from, folder).await?;
    let mut records = source.view().await?.export();
    let mut page = Vec::with_capacity(Copying::PAGE);
    while let Some(record) = records.next().await {
        page.extend(plain(record?));
        if page.len() == Copying::PAGE {
            copying.put(&std::mem::take(&mut page)).await?;
        }
    }
    copying.put(&page).await?;
    copying.copy(to, folder).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fleet_moves() {
        let moved = turn(Kind::Memory, Kind::Sqlite, 5).await.unwrap();
        assert!(moved.rate > 0.0 && moved.copying >= moved.rate && moved.probe > 0.0);
    }
}
