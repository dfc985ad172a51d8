//! The façade that embedders, the API server and tests all use.

use std::{fmt, sync::Arc};

use crate::{
    access::{PermissionEntry, audit::AuditService},
    kernel::{Clock, Error, MasterKey, Randomness, Result, Sealer, SystemClock, SystemRandom},
    modules::{self, Job, Module},
    store::{Backend, Store},
};

/// A fleet: its store, its clock, its secrets and its services. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Randomness>,
    sealer: Sealer,
    permissions: Vec<PermissionEntry>,
    jobs: Vec<Job>,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("store", &self.inner.store)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Fleet`].
#[derive(Debug)]
pub struct FleetBuilder {
    backend: Arc<dyn Backend>,
    master_key: MasterKey,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Randomness>,
    modules: Vec<Module>,
}

impl FleetBuilder {
    /// Takes the time from this clock; the system's by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes randomness from here; the system's by default.
    #[must_use]
    pub fn random(mut self, random: Arc<dyn Randomness>) -> Self {
        self.random = random;
        self
    }

    /// Adds a module of the embedder's own.
    #[must_use]
    pub fn module(mut self, module: Module) -> Self {
        self.modules.push(module);
        self
    }

    /// Prepares the store and opens the fleet. Fails when the master key is not the one that sealed the store's secrets.
    pub async fn open(self) -> Result<Fleet> {
        let schema = modules::schema(&self.modules)?;
        let permissions = modules::permissions(&self.modules)?;
        let (store, report) = Store::open(self.backend, &schema, self.clock.clone(), self.random.clone()).await?;
        for created in &report.created {
            tracing::debug!(created, "storage extended");
        }
        let jobs = self
            .modules
            .iter()
            .flat_map(|module| module.jobs.iter().cloned())
            .collect();
        let inner = Inner {
            store,
            clock: self.clock,
            random: self.random,
            sealer: Sealer::new(self.master_key),
            permissions,
            jobs,
        };
        Ok(Fleet { inner: Arc::new(inner) })
    }
}

impl Fleet {
    /// Begins to build a fleet over a backend. The master key seals its secrets and is kept by the caller.
    pub fn builder(backend: Arc<dyn Backend>, master_key: MasterKey) -> FleetBuilder {
        FleetBuilder {
            backend,
            master_key,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            modules: modules::built_in(),
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// The source of randomness.
    pub fn random(&self) -> &dyn Randomness {
        &*self.inner.random
    }

    /// Seals and opens secrets.
    pub fn sealer(&self) -> &Sealer {
        &self.inner.sealer
    }

    /// The permission table.
    pub fn permissions(&self) -> &[PermissionEntry] {
        &self.inner.permissions
    }

    /// The jobs of all modules.
    pub fn jobs(&self) -> &[Job] {
        &self.inner.jobs
    }

    /// Reads the audit.
    pub fn audit(&self) -> AuditService<'_> {
        AuditService::new(&self.inner.store)
    }

    /// Finishes what was accepted and closes the store.
    pub async fn close(&self) -> Result<()> {
        self.inner.store.backend().close().await.map_err(Error::from)
    }
}
