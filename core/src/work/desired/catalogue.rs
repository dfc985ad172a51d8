//! All that manifests are compiled from, read once for each edition.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    ActionId, ActionSet, ActionSetId, Assignment, Definition, DefinitionId, DesiredAction, DesiredEdition,
    DesiredEditionId, DesiredState, Mode, OnFailure, Rhythm, Source, Target,
    actions::{Effective, kinds_with_state},
    authoring::all_pages,
    manifest::{Compiled, Confirmations, Marks},
    resolve::{ActionFacts, Assigned, Claimant, Claims, DeviceFacts, Member, World},
};
use crate::{
    access::users::UserId,
    devices::{DeviceGroupId, DeviceId},
    kernel::{Result, canonical},
    store::{CommitObserver, Query, Reader, Tx},
    work::{
        OperationKind, Operations, StoredParams,
        operations::Upkeep,
        promotions::is_dry_run,
        windows::{WindowId, WindowSet, windows_that_count},
    },
};

/// The most ways to be compiled that are remembered of an edition: devices that the same reaches share one.
const MAX_COMPILED: usize = 256;

/// What is remembered of desired state between two commits.
#[derive(Debug, Default)]
pub(crate) struct Catalogues {
    loaded: Mutex<Option<Arc<Catalogue>>>,
    /// Devices whose groups changed.
    pub(super) marks: Arc<Marks>,
    /// Held by whoever compiles: what was read last must not be written first.
    pub(super) compiling: tokio::sync::Mutex<()>,
    /// Devices that tell what they have taken back.
    pub(super) confirmations: Confirmations,
}

/// An action as manifests apply it.
#[derive(Clone, Debug)]
pub(super) struct ReadyAction {
    pub action: DesiredAction,
    pub effective: Effective,
    /// What of a device it is about, where that is taken back.
    pub subjects: BTreeSet<String>,
}

impl ReadyAction {
    /// What it is about in each state in which it can be applied. What only looks is about nothing that others could undo.
    fn claimants(&self, kind: &OperationKind) -> Vec<Claimant> {
        let own = self
            .effective
            .own
            .as_ref()
            .ok()
            .map(|params| (self.action.state, params));
        let absent = self.effective.absent.as_ref();
        let absent = absent.map(|params| (DesiredState::Absent, params));
        let absent = absent.filter(|(state, _)| *state != self.action.state);
        let all = own.into_iter().chain(absent).filter(|(_, params)| !is_dry_run(params));
        let claimants = all.map(|(state, params)| Claimant {
            action: self.action.id,
            state,
            subjects: kind.subjects_of(&params.shown()),
        });
        claimants.collect()
    }
}

/// A set or a definition, but for its members.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub name: String,
    pub description: String,
    pub rhythm: Rhythm,
    pub on_failure: OnFailure,
}

/// What a device's manifest follows from: what reaches it, what was chosen, and which windows concern it.
type Reached = (Vec<Target>, BTreeSet<Source>, Vec<WindowId>);

/// All of one edition.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    token: Option<Uuid>,
    pub world: World,
    pub actions: BTreeMap<ActionId, ReadyAction>,
    pub sets: BTreeMap<ActionSetId, Container>,
    pub definitions: BTreeMap<DefinitionId, Container>,
    /// The windows that count.
    pub windows: WindowSet,
    /// The kinds whose effect is taken back.
    pub reverted: BTreeSet<&'static str>,
    /// What was compiled of it already.
    compiled: Mutex<HashMap<Reached, Arc<Compiled>>>,
}

impl Catalogues {
    /// Says that devices may have to be compiled.
    pub fn ring(&self) {
        self.marks.bell.notify_one();
    }

    /// What marks devices whose groups change.
    pub fn observer(&self) -> Arc<dyn CommitObserver> {
        self.marks.clone()
    }

    /// Rung when devices may have to be compiled.
    pub fn bell(&self) -> &Notify {
        &self.marks.bell
    }

    /// What a change is compiled from: it fails and is decided anew when that changes before its commit.
    pub(super) async fn begin(&self, tx: &mut Tx, operations: &Operations) -> Result<Arc<Catalogue>> {
        match tx.get::<DesiredEdition>(DesiredEditionId::only()).await? {
            None => {
                tx.require_absent::<DesiredEdition>(DesiredEditionId::only());
                Ok(Arc::default())
            }
            Some(edition) => {
                tx.require(&edition);
                self.of_edition(tx.reader(), &edition, operations).await
            }
        }
    }

    /// The same of a view.
    pub(super) async fn read(&self, reader: &mut Reader, operations: &Operations) -> Result<Arc<Catalogue>> {
        match reader.get::<DesiredEdition>(DesiredEditionId::only()).await? {
            None => Ok(Arc::default()),
            Some(edition) => self.of_edition(reader, &edition, operations).await,
        }
    }

    async fn of_edition(
        &self,
        reader: &mut Reader,
        edition: &DesiredEdition,
        operations: &Operations,
    ) -> Result<Arc<Catalogue>> {
        let known = locked(&self.loaded).clone();
        if let Some(known) = known.filter(|known| known.token == Some(edition.token)) {
            return Ok(known);
        }
        let loaded = Arc::new(Catalogue::load(reader, edition.token, operations).await?);
        *locked(&self.loaded) = Some(loaded.clone());
        Ok(loaded)
    }
}

impl Catalogue {
    async fn load(reader: &mut Reader, token: Uuid, operations: &Operations) -> Result<Self> {
        let mut loaded = Self {
            token: Some(token),
            ..Self::default()
        };
        let with_state = kinds_with_state(operations);
        let mut claimants = Vec::new();
        for found in all_pages::<DesiredAction>(reader, &Query::all()).await? {
            let action = found.value;
            let effective = Effective::of(&action, operations, &with_state);
            let facts = ActionFacts {
                state: action.state,
                can_be_absent: effective.absent.is_some(),
            };
            loaded.world.actions.insert(action.id, facts);
            let kind = operations.kind(&action.operation).ok();
            let reverted = kind.filter(|kind| kind.upkeep == Upkeep::Reverted);
            let ready = ReadyAction {
                subjects: reverted.map_or_else(BTreeSet::new, |kind| kind.subjects_of(&action.params.shown()).own),
                action,
                effective,
            };
            if let Some(kind) = kind {
                claimants.extend(ready.claimants(kind));
            }
            loaded.actions.insert(ready.action.id, ready);
        }
        loaded.world.claims = Claims::of(&claimants, |action, state| loaded.does(action, state));
        for found in all_pages::<ActionSet>(reader, &Query::all()).await? {
            let set = found.value;
            loaded.world.sets.insert(set.id, set.members);
            let container = Container {
                name: set.name,
                description: set.description,
                rhythm: set.rhythm,
                on_failure: set.on_failure,
            };
            loaded.sets.insert(set.id, container);
        }
        for found in all_pages::<Definition>(reader, &Query::all()).await? {
            let definition = found.value;
            loaded.world.definitions.insert(definition.id, definition.members);
            let container = Container {
                name: definition.name,
                description: definition.description,
                rhythm: definition.rhythm,
                on_failure: definition.on_failure,
            };
            loaded.definitions.insert(definition.id, container);
        }
        for found in all_pages::<Assignment>(reader, &Query::all()).await? {
            let assigned = Assigned {
                id: found.id,
                source: found.source,
                mode: found.mode,
                order: found.order,
            };
            loaded.world.assignments.entry(found.target).or_default().push(assigned);
        }
        loaded.windows = windows_that_count(reader).await?;
        let reverted = operations.all().filter(|kind| kind.upkeep == Upkeep::Reverted);
        loaded.reverted = reverted.map(|kind| kind.name).collect();
        Ok(loaded)
    }

    /// What an assignment leads to: what is assigned, and what that holds.
    pub fn assigned(&self) -> BTreeSet<Source> {
        let assigned = self
            .world
            .assignments
            .values()
            .flatten()
            .map(|assigned| assigned.source);
        let mut reached: BTreeSet<Source> = assigned.collect();
        for source in reached.clone() {
            if let Source::Definition(id) = source {
                let members = self.world.definitions.get(&id).into_iter().flatten();
                reached.extend(members.map(|member| match member {
                    Member::Action(action) => Source::Action(*action),
                    Member::ActionSet(set) => Source::ActionSet(*set),
                }));
            }
        }
        for source in reached.clone() {
            if let Source::ActionSet(id) = source {
                let members = self.world.sets.get(&id).into_iter().flatten();
                reached.extend(members.map(|action| Source::Action(*action)));
            }
        }
        reached
    }

    /// The targets to whom something is assigned that reach a device.
    fn reaching(&self, device: DeviceId, groups: &BTreeSet<DeviceGroupId>, owners: &BTreeSet<UserId>) -> Vec<Target> {
        let groups = groups.iter().map(|group| Target::DeviceGroup(*group));
        let owners = owners.iter().map(|user| Target::User(*user));
        let all = std::iter::once(Target::Device(device)).chain(groups).chain(owners);
        all.filter(|target| self.world.assignments.contains_key(target))
            .collect()
    }

    /// What an assignment makes available on a device, by itself and not by something around it.
    pub fn available(
        &self,
        device: DeviceId,
        groups: &BTreeSet<DeviceGroupId>,
        owners: &BTreeSet<UserId>,
    ) -> BTreeSet<Source> {
        let reaching = self.reaching(device, groups, owners);
        let assigned = reaching.iter().filter_map(|target| self.world.assignments.get(target));
        let available = assigned.flatten().filter(|assigned| assigned.mode == Mode::Available);
        available
            .map(|assigned| assigned.source)
            .filter(|source| self.knows(*source))
            .collect()
    }

    /// Whether there is such a thing.
    pub fn knows(&self, source: Source) -> bool {
        match source {
            Source::Action(id) => self.actions.contains_key(&id),
            Source::ActionSet(id) => self.sets.contains_key(&id),
            Source::Definition(id) => self.definitions.contains_key(&id),
        }
    }

    /// Name and description of a thing; empty for one that there is not.
    pub fn described(&self, source: Source) -> (String, String) {
        let of = |found: &Container| (found.name.clone(), found.description.clone());
        let found = match source {
            Source::Action(id) => {
                let ready = self.actions.get(&id);
                ready.map(|ready| (ready.action.name.clone(), ready.action.description.clone()))
            }
            Source::ActionSet(id) => self.sets.get(&id).map(of),
            Source::Definition(id) => self.definitions.get(&id).map(of),
        };
        found.unwrap_or_default()
    }

    /// The actions of a thing, in order.
    pub fn actions_of(&self, source: Source) -> Vec<ActionId> {
        let of_set = |set: &ActionSetId| self.world.sets.get(set).cloned().unwrap_or_default();
        let found = match source {
            Source::Action(id) => vec![id],
            Source::ActionSet(set) => of_set(&set),
            Source::Definition(id) => {
                let members = self.world.definitions.get(&id).into_iter().flatten();
                let actions = members.flat_map(|member| match member {
                    Member::Action(id) => vec![*id],
                    Member::ActionSet(set) => of_set(set),
                });
                actions.collect()
            }
        };
        found.into_iter().filter(|id| self.actions.contains_key(id)).collect()
    }

    /// Everybody whom something is assigned to that one of these stands in, or is.
    pub fn targets_of(&self, sources: &BTreeSet<Source>) -> BTreeSet<Target> {
        let mut all = sources.clone();
        let names = |all: &BTreeSet<Source>, source: Source| all.contains(&source);
        let sets = self.world.sets.iter();
        let sets: Vec<_> = sets
            .filter(|(_, members)| members.iter().any(|id| names(&all, Source::Action(*id))))
            .map(|(id, _)| Source::ActionSet(*id))
            .collect();
        all.extend(sets);
        let definitions = self.world.definitions.iter();
        let definitions: Vec<_> = definitions
            .filter(|(_, members)| members.iter().any(|member| names(&all, Source::from(*member))))
            .map(|(id, _)| Source::Definition(*id))
            .collect();
        all.extend(definitions);
        let reached = self.world.assignments.iter();
        let reached = reached.filter(|(_, assigned)| assigned.iter().any(|one| names(&all, one.source)));
        reached.map(|(target, _)| *target).collect()
    }

    /// Whether nothing at all is assigned.
    pub fn is_empty(&self) -> bool {
        self.world.assignments.is_empty()
    }

    /// What applies to a device, in the form of its manifest. Devices that the same reaches, and on which the same was chosen, have the same.
    pub fn compiled(&self, device: &DeviceFacts<'_>) -> Arc<Compiled> {
        let reaching = self.reaching(device.id, device.groups, device.owners);
        // A device is among its targets only when something is assigned to it alone.
        let windows: Vec<_> = self.windows.concerning(device.id, device.groups).collect();
        let ids = windows.iter().map(|window| window.id).collect();
        let key = (reaching, device.selected.clone(), ids);
        if let Some(known) = locked(&self.compiled).get(&key) {
            return known.clone();
        }
        let compiled = Arc::new(Compiled::new(self, device, &windows));
        let mut known = locked(&self.compiled);
        if known.len() >= MAX_COMPILED {
            known.clear();
        }
        known.insert(key, compiled.clone());
        compiled
    }

    /// What an action does in a state: its kind and parameters, as they are stored. A secret of one action is never equal to that of another.
    fn does(&self, id: ActionId, state: DesiredState) -> Option<[u8; 32]> {
        let operation = &self.actions.get(&id)?.action.operation;
        let bytes = canonical::to_vec(&(operation, self.params(id, state).ok()?)).ok()?;
        Some(*blake3::hash(&bytes).as_bytes())
    }

    /// The parameters with which an action is applied in a state.
    pub fn params(&self, id: ActionId, state: DesiredState) -> std::result::Result<&StoredParams, String> {
        let Some(ready) = self.actions.get(&id) else {
            return Err("it was deleted".to_owned());
        };
        if ready.action.state == state {
            return ready.effective.own.as_ref().map_err(Clone::clone);
        }
        let absent = ready.effective.absent.as_ref();
        absent.ok_or_else(|| "its kind knows no absence".to_owned())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No step leaves it half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
