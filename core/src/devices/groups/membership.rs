//! Dynamic groups as they are remembered between two commits, and the groups of one device.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    DeviceGroup, DeviceGroupId, GroupEdition, GroupEditionId, GroupPass, MAX_DYNAMIC_GROUPS,
    query::{DeviceQuery, Facts, QueryError},
};
use crate::{
    devices::{Device, DeviceSummary},
    kernel::{MAX_LIMIT, PageRequest, Result},
    store::{Query, Reader, Rev, Tx, Versioned},
};

/// The most names of groups that are remembered.
const MAX_NAMES: usize = 10_000;

/// The dynamic groups of a fleet, read and compiled once for each edition. What is remembered is used only by views that show
/// its edition, so that it is never old.
#[derive(Debug, Default)]
pub(crate) struct DynamicGroups {
    compiled: Mutex<Option<Arc<Compiled>>>,
    /// Rung when the evaluation of all devices has something to do.
    pub(super) bell: Notify,
    /// Held by the evaluation: the bell and the job must not both do it.
    pub(super) evaluating: tokio::sync::Mutex<()>,
}

/// The dynamic groups of one edition.
#[derive(Debug)]
struct Compiled {
    token: Uuid,
    groups: Vec<CompiledGroup>,
    /// Those of them whose queries can be read: only they take out whom somebody had put in.
    dynamic: HashSet<DeviceGroupId>,
    /// Groups that lost their query, and whose members the pass since then may not have settled yet. That it has in the meantime is no
    /// other edition: of a settled group nobody is a member by query.
    frozen: HashSet<DeviceGroupId>,
    asks_for_groups: bool,
    /// Of groups that devices are put into by hand. A change of a name is another edition.
    names: Mutex<HashMap<DeviceGroupId, Arc<str>>>,
}

#[derive(Clone, Debug)]
struct CompiledGroup {
    id: DeviceGroupId,
    rev: Rev,
    query: Arc<Result<DeviceQuery, QueryError>>,
}

/// The dynamic groups as of one view.
#[derive(Clone, Debug)]
pub(crate) struct Membership(Option<Arc<Compiled>>);

impl DynamicGroups {
    /// The dynamic groups as of a change, which fails and is decided anew when they change before its commit.
    pub async fn begin(&self, tx: &mut Tx) -> Result<Membership> {
        match tx.get::<GroupEdition>(GroupEditionId::only()).await? {
            None => {
                tx.require_absent::<GroupEdition>(GroupEditionId::only());
                Ok(Membership(None))
            }
            Some(edition) => {
                tx.require(&edition);
                self.of_edition(tx.reader(), &edition).await
            }
        }
    }

    /// The dynamic groups as of a view.
    pub async fn read(&self, reader: &mut Reader) -> Result<Membership> {
        match reader.get::<GroupEdition>(GroupEditionId::only()).await? {
            None => Ok(Membership(None)),
            Some(edition) => self.of_edition(reader, &edition).await,
        }
    }

    async fn of_edition(&self, reader: &mut Reader, edition: &GroupEdition) -> Result<Membership> {
        let before = locked(&self.compiled).clone();
        if let Some(compiled) = before.as_ref().filter(|compiled| compiled.token == edition.token) {
            return Ok(Membership(Some(compiled.clone())));
        }
        let groups = dynamic_groups(reader, before.as_deref()).await?;
        let asks_for_groups = groups
            .iter()
            .any(|group| matches!(&*group.query, Ok(query) if query.asks_for_groups()));
        let compiled = Arc::new(Compiled {
            token: edition.token,
            dynamic: groups
                .iter()
                .filter(|group| group.query.is_ok())
                .map(|group| group.id)
                .collect(),
            frozen: frozen_groups(reader).await?,
            groups,
            asks_for_groups,
            names: Mutex::default(),
        });
        *locked(&self.compiled) = Some(compiled.clone());
        Ok(Membership(Some(compiled)))
    }
}

/// All dynamic groups of a view; queries that were compiled already are taken over.
async fn dynamic_groups(reader: &mut Reader, before: Option<&Compiled>) -> Result<Vec<CompiledGroup>> {
    let known: HashMap<_, _> = before
        .iter()
        .flat_map(|before| &before.groups)
        .map(|group| ((group.id, group.rev), &group.query))
        .collect();
    let query = Query::<DeviceGroup>::all().filter(DeviceGroup::DYNAMIC.eq(true));
    let (mut groups, mut token) = (Vec::new(), None);
    loop {
        let page = reader.list(&query, &PageRequest::new(Some(MAX_LIMIT), token)?).await?;
        for group in page.items {
            let compiled = match known.get(&(group.id, group.rev)) {
                Some(query) => Arc::clone(query),
                None => Arc::new(group.query.as_deref().unwrap_or_default().parse()),
            };
            if let Err(error) = &*compiled {
                tracing::warn!(group = %group.id, %error, "a stored query cannot be read; the members of its group stay as they are");
            }
            groups.push(CompiledGroup {
                id: group.id,
                rev: group.rev,
                query: compiled,
            });
        }
        token = page.next;
        if token.is_none() || groups.len() >= MAX_DYNAMIC_GROUPS as usize {
            return Ok(groups);
        }
    }
}

/// The groups that lost their query with an edition that no complete pass began with yet.
async fn frozen_groups(reader: &mut Reader) -> Result<HashSet<DeviceGroupId>> {
    let pass = GroupPass::of(reader).await?;
    let since = pass.complete.map_or(0, |edition| edition.saturating_add(1));
    let since = i64::try_from(since).unwrap_or(i64::MAX);
    let query = Query::<DeviceGroup>::all().filter(DeviceGroup::FROZEN_WITH.at_least(since));
    let (mut groups, mut token) = (HashSet::new(), None);
    loop {
        let page = reader.list(&query, &PageRequest::new(Some(MAX_LIMIT), token)?).await?;
        groups.extend(page.items.iter().map(|group| group.id));
        token = page.next;
        if token.is_none() {
            return Ok(groups);
        }
    }
}

impl Membership {
    /// Places a device among the dynamic groups, by what its summary shows; all but `groups` and `dynamic_groups` of it is left alone.
    pub async fn place(&self, reader: &mut Reader, summary: &mut DeviceSummary) -> Result<()> {
        let groups = match &self.0 {
            None => BTreeSet::new(),
            Some(compiled) if compiled.groups.is_empty() && compiled.frozen.is_empty() => BTreeSet::new(),
            Some(compiled) => {
                let names = compiled.names(reader, summary).await?;
                let facts = Facts::of(summary, names.iter().map(|name| &**name));
                let is_in = |group: &&CompiledGroup| match &*group.query {
                    // Where it was put in by hand before there was a query it stays so until it is settled.
                    Ok(query) => query.matches(&facts) && !summary.is_put_into(group.id),
                    // One that cannot be read must not empty its group, nor keep the others from being evaluated.
                    Err(_) => summary.dynamic_groups.contains(&group.id),
                };
                let described = compiled.groups.iter().filter(is_in).map(|group| group.id);
                let frozen = summary.dynamic_groups.iter().copied();
                described
                    .chain(frozen.filter(|id| compiled.frozen.contains(id)))
                    .collect()
            }
        };
        summary.place_in(groups);
        Ok(())
    }

    /// Whether each group that a device is in holds it in the way of the group's kind.
    pub fn is_settled(&self, summary: &DeviceSummary) -> bool {
        let Some(compiled) = &self.0 else {
            return true;
        };
        !summary.dynamic_groups.iter().any(|id| compiled.frozen.contains(id))
            && !summary.hand_made_groups().any(|id| compiled.dynamic.contains(&id))
    }

    /// Settles a device in groups that changed their kind: from then on it was put by hand into those that lost their query, and into
    /// none that has one. It is for the caller to place the summary afterwards, and to write both.
    pub fn settle(&self, device: &mut Device, summary: &mut DeviceSummary) {
        let Some(compiled) = &self.0 else {
            return;
        };
        device.groups.retain(|id| !compiled.dynamic.contains(id));
        summary.dynamic_groups.retain(|id| {
            let is_frozen = compiled.frozen.contains(id);
            if is_frozen {
                device.groups.insert(*id);
            }
            !is_frozen
        });
        summary.show(device);
    }

    /// Whether a device of this summary is wanted by a query that need not be stored.
    pub async fn matches(&self, reader: &mut Reader, summary: &DeviceSummary, query: &DeviceQuery) -> Result<bool> {
        let mut names = Vec::new();
        if query.asks_for_groups() {
            names = match &self.0 {
                Some(compiled) => compiled.learn(reader, summary).await?,
                None => read_names(reader, &hand_made(summary))
                    .await?
                    .into_iter()
                    .flatten()
                    .collect(),
            };
        }
        let facts = Facts::of(summary, names.iter().map(|name| &**name));
        Ok(query.matches(&facts))
    }
}

impl Compiled {
    /// The names of the groups that a device was put into, if any query asks for them.
    async fn names(&self, reader: &mut Reader, summary: &DeviceSummary) -> Result<Vec<Arc<str>>> {
        if self.asks_for_groups {
            self.learn(reader, summary).await
        } else {
            Ok(Vec::new())
        }
    }

    async fn learn(&self, reader: &mut Reader, summary: &DeviceSummary) -> Result<Vec<Arc<str>>> {
        let ids = hand_made(summary);
        let mut known: Vec<Arc<str>> = Vec::with_capacity(ids.len());
        let mut missing = Vec::new();
        {
            let names = locked(&self.names);
            for id in ids {
                match names.get(&id) {
                    Some(name) => known.push(name.clone()),
                    None => missing.push(id),
                }
            }
        }
        if missing.is_empty() {
            return Ok(known);
        }
        let found = read_names(reader, &missing).await?;
        known.extend(found.iter().flatten().cloned());
        let mut names = locked(&self.names);
        if names.len() + found.len() > MAX_NAMES {
            names.clear();
        }
        // A group that was not there yet is looked for again: making one is no change of edition.
        let found = missing.into_iter().zip(found);
        names.extend(found.filter_map(|(id, name)| Some((id, name?))));
        Ok(known)
    }
}

fn hand_made(summary: &DeviceSummary) -> Vec<DeviceGroupId> {
    summary.hand_made_groups().collect()
}

async fn read_names(reader: &mut Reader, ids: &[DeviceGroupId]) -> Result<Vec<Option<Arc<str>>>> {
    let found = reader.get_many::<DeviceGroup>(ids).await?;
    let name = |group: Option<Versioned<DeviceGroup>>| group.map(|group| group.value.name.into());
    Ok(found.into_iter().map(name).collect())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No step leaves it half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
