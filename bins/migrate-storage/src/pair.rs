//! The two stores of a move.

use std::sync::Arc;

use fleet_bins_common::storage::{self, Purpose, StoreUri};
use fleet_core::{
    kernel::{SystemClock, SystemRandom},
    modules,
    store::{
        Backend,
        memory::MemoryStore,
        migration::{Facts, Migration, Options},
    },
};

use crate::exit::{Exit, Failure};

/// Two open stores.
pub(crate) struct Pair {
    pub(crate) source: Arc<dyn Backend>,
    pub(crate) target: Arc<dyn Backend>,
    pub(crate) migration: Arc<Migration>,
    /// The target is not there yet, and an empty store in memory stands in for it.
    absent: Option<String>,
}

impl Pair {
    /// Opens both. With `make`, a target that is not there is made.
    pub(crate) async fn open(from: &StoreUri, to: &StoreUri, make: bool, options: Options) -> Result<Self, Failure> {
        if from == to {
            return Err(Failure::new(
                Exit::Refused,
                "migration.same_store",
                format!("source and target are one store, {from}"),
                "name two stores",
            ));
        }
        let clock = Arc::new(SystemClock);
        let source = storage::open(from, Purpose::Existing, clock.clone())
            .await
            .map_err(|error| Failure::opening("source", &from.to_string(), &error))?
            .backend;
        let absent = (!make && to.exists() == Some(false)).then(|| to.to_string());
        let target: Arc<dyn Backend> = if absent.is_some() {
            Arc::new(MemoryStore::new(clock.clone()))
        } else {
            match storage::open(to, Purpose::Fill, clock.clone()).await {
                Ok(opened) => opened.backend,
                Err(error) => {
                    let _ = source.close().await;
                    return Err(Failure::opening("target", &to.to_string(), &error));
                }
            }
        };
        let schema = modules::schema(&modules::built_in())
            .map_err(|error| Failure::new(Exit::Failed, "internal", error.log(), ""))?;
        for store in [&source, &target] {
            // Some stores say where they stand only once they were read. What is wrong with one, the engine finds and words.
            let _ = store.prepare(&schema).await;
        }
        let migration = Migration::new(source.clone(), target.clone(), schema, clock, Arc::new(SystemRandom));
        Ok(Self {
            source,
            target,
            migration: Arc::new(migration.with_options(options)),
            absent,
        })
    }

    /// The target's facts as they are, where a stand-in gave them.
    pub(crate) fn name_target(&self, target: &mut Facts) {
        if let Some(name) = &self.absent {
            target.name = format!("{name} (not there yet; it would be made)");
            target.seq = None;
        }
    }

    /// Closes both.
    pub(crate) async fn close(&self) -> Result<(), Failure> {
        let (source, target) = tokio::join!(self.source.close(), self.target.close());
        for (side, result) in [("source", source), ("target", target)] {
            result.map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    "migration.not_closed",
                    format!("the {side} did not close cleanly: {error}"),
                    "run `migrate-storage status`",
                )
            })?;
        }
        Ok(())
    }
}
