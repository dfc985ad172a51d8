//! Counts the changes of what manifests are compiled from, and remembers what each may concern.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Source, Target};
use crate::{
    Entity,
    kernel::{EntityId as _, Result, Timestamp, named_uuid},
    store::{Store, Tx},
    work::windows::WindowScope,
};

crate::define_id!(
    /// Names the one edition of a fleet's desired state.
    DesiredEditionId,
    "edition of desired state"
);

impl DesiredEditionId {
    /// The only one.
    pub fn only() -> Self {
        Self::from_uuid(named_uuid("desired_edition", "only"))
    }
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeCounts {
    /// Actions.
    pub actions: u32,
    /// Action sets.
    pub sets: u32,
    /// Definitions.
    pub definitions: u32,
    /// Assignments.
    pub assignments: u32,
}

/// What changes with each change of an action, a set, a definition, an assignment or a window. Absent while there never was one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "desired_edition", version = 1)]
pub struct DesiredEdition {
    /// Its id.
    #[entity(id)]
    pub id: DesiredEditionId,
    /// Counts the changes.
    pub number: u64,
    /// Another with each change: a store that was set back to an older state counts on from there, and what is remembered of the
    /// newer one must not seem to be of it.
    pub token: Uuid,
    /// How many there are of what is bounded.
    pub counts: ChangeCounts,
}

crate::define_id!(
    /// Names a change that devices have yet to be compiled for.
    DesiredChangeId,
    "change of desired state"
);

/// A change that devices have yet to be compiled for; removed once they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "desired_change", version = 1)]
pub struct DesiredChange {
    /// Its id.
    #[entity(id)]
    pub id: DesiredChangeId,
    /// What was changed: whoever it reaches by then is concerned.
    pub sources: BTreeSet<Source>,
    /// Who is concerned besides.
    pub targets: BTreeSet<Target>,
    /// Whether all devices are.
    #[serde(default)]
    pub everyone: bool,
    /// When it was changed.
    pub created_at: Timestamp,
}

/// Whom a change concerns.
#[derive(Clone, Debug, Default)]
pub(super) struct Concerned {
    pub sources: BTreeSet<Source>,
    pub targets: BTreeSet<Target>,
    pub everyone: bool,
}

/// Makes the change one of a new edition, whose counts `count` has altered and may refuse, and remembers whom it concerns.
pub(super) async fn next_edition(
    tx: &mut Tx,
    store: &Store,
    concerned: Concerned,
    count: impl FnOnce(&mut ChangeCounts) -> Result<()> + Send,
) -> Result<()> {
    let before = tx.get::<DesiredEdition>(DesiredEditionId::only()).await?;
    let mut after = DesiredEdition {
        id: DesiredEditionId::only(),
        number: before.as_ref().map_or(0, |before| before.number) + 1,
        token: store.new_uuid(),
        counts: before
            .as_ref()
            .map_or_else(ChangeCounts::default, |before| before.counts),
    };
    count(&mut after.counts)?;
    match &before {
        Some(before) => drop(tx.update(before, &after)?),
        None => tx.create(&after)?,
    }
    remember(tx, store, concerned)
}

/// Makes the change one of the windows that devices hold by themselves.
pub(in crate::work) async fn windows_changed(tx: &mut Tx, store: &Store, scope: WindowScope) -> Result<()> {
    let devices = scope.devices.into_iter().map(Target::Device);
    let groups = scope.groups.into_iter().map(Target::DeviceGroup);
    let concerned = Concerned {
        targets: devices.chain(groups).collect(),
        everyone: scope.all,
        ..Concerned::default()
    };
    next_edition(tx, store, concerned, |_| Ok(())).await
}

/// Remembers whom a change concerns that makes no new edition: one of a single device.
pub(super) fn remember(tx: &mut Tx, store: &Store, concerned: Concerned) -> Result<()> {
    if concerned.sources.is_empty() && concerned.targets.is_empty() && !concerned.everyone {
        return Ok(());
    }
    let now = tx.now();
    tx.create(&DesiredChange {
        id: DesiredChangeId::new(now, store.random()),
        sources: concerned.sources,
        targets: concerned.targets,
        everyone: concerned.everyone,
        created_at: now,
    })
}
