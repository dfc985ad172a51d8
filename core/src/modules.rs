//! Modules: what each part of the domain brings along, and the one list of them.
//!
//! Schema, permission table, settings, operation kinds and jobs are all made from this list; an embedder adds parts of its
//! own with [`FleetBuilder::module`](crate::FleetBuilder::module).

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;

use crate::{
    Fleet,
    access::{Action, PermissionEntry},
    blobs::BlobHolder,
    kernel::{Error, Result},
    retention::LaneRetention,
    settings::SettingDefinition,
    store::{KindSchema, LaneSchema, LatestSchema, Schema},
    work::{OperationKind, operations::Gate, secrets::SecretHolder},
};

/// What a part of the domain brings along.
#[derive(Debug, Default)]
pub struct Module {
    /// Its name; the name of its folder.
    pub name: &'static str,
    /// Kinds of documents.
    pub kinds: Vec<KindSchema>,
    /// Lanes.
    pub lanes: Vec<LaneSchema>,
    /// Sets of latest values.
    pub latest: Vec<LatestSchema>,
    /// Permissions, with the least role that has each.
    pub permissions: Vec<PermissionEntry>,
    /// Audit actions.
    pub actions: Vec<Action>,
    /// Kinds of operation.
    pub operations: Vec<OperationKind>,
    /// What keeps work of these kinds from devices.
    pub gates: Vec<Gate>,
    /// Settings.
    pub settings: Vec<SettingDefinition>,
    /// How long rows of lanes are kept; their settings need not be listed again.
    pub retention: Vec<LaneRetention>,
    /// Columns that hold digests of blobs.
    pub blob_holders: Vec<BlobHolder>,
    /// Columns that hold the ids of secrets among the parameters of work.
    pub secret_holders: Vec<SecretHolder>,
    /// Work in the background.
    pub jobs: Vec<Job>,
}

/// What a job does when it is due.
pub type Tick = Arc<dyn Fn(Fleet) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// Work in the background: a function that is called again and again while [`Fleet::run`] runs, on one server at a time.
#[derive(Clone)]
pub struct Job {
    /// Its name, which is also the name of its lease.
    pub name: &'static str,
    /// The time between two ticks.
    pub every: Duration,
    /// What it does. It must bound its own work and be safe to repeat.
    pub tick: Tick,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({} every {:?})", self.name, self.every)
    }
}

/// The built-in modules.
pub fn built_in() -> Vec<Module> {
    vec![
        crate::access::module(),
        crate::settings::module(),
        crate::storage::module(),
        crate::certificates::module(),
        crate::jobs::module(),
        crate::retention::module(),
        crate::blobs::module(),
        crate::devices::module(),
        crate::work::module(),
        crate::agents::module(),
        crate::escrow::module(),
    ]
}

/// The schema of all modules.
pub fn schema(modules: &[Module]) -> Result<Schema> {
    let mut schema = Schema::default();
    for module in modules {
        for kind in &module.kinds {
            schema = schema.with_kind(kind.clone()).map_err(Error::internal)?;
        }
        for lane in &module.lanes {
            schema = schema.with_lane(lane.clone()).map_err(Error::internal)?;
        }
        for latest in &module.latest {
            schema = schema.with_latest(latest.clone()).map_err(Error::internal)?;
        }
    }
    Ok(schema)
}

/// The settings of all modules, with those of how long rows are kept.
pub fn settings(modules: &[Module]) -> Vec<SettingDefinition> {
    let of_retention = modules.iter().flat_map(|module| &module.retention);
    let declared = modules.iter().flat_map(|module| module.settings.iter().cloned());
    declared
        .chain(of_retention.map(|retention| retention.days.definition()))
        .collect()
}

/// The permission table of all modules, in the order of the modules. Fails on a permission that is declared twice.
pub fn permissions(modules: &[Module]) -> Result<Vec<PermissionEntry>> {
    let mut seen = BTreeSet::new();
    let table: Vec<_> = modules
        .iter()
        .flat_map(|module| module.permissions.iter().copied())
        .collect();
    for entry in &table {
        if !seen.insert(entry.permission) {
            return Err(Error::internal(format!(
                "permission {} is declared twice",
                entry.permission.name()
            )));
        }
    }
    Ok(table)
}
