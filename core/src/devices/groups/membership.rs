//! Dynamic groups as they are remembered between two commits, and the groups of one device.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    DeviceGroup, DeviceGroupId, GroupEdition, GroupEditionId, MAX_DYNAMIC_GROUPS,
    query::{DeviceQuery, Facts, QueryError},
};
use crate::{
    devices::DeviceSummary,
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

impl Membership {
    /// Places a device among the dynamic groups, by what its summary shows; all but `groups` and `dynamic_groups` of it is left alone.
    pub async fn place(&self, reader: &mut Reader, summary: &mut DeviceSummary) -> Result<()> {
        let groups = match &self.0 {
            None => BTreeSet::new(),
            Some(compiled) if compiled.groups.is_empty() => BTreeSet::new(),
            Some(compiled) => {
                let names = compiled.names(reader, summary).await?;
                let facts = Facts::of(summary, names.iter().map(|name| &**name));
                let is_in = |group: &&CompiledGroup| match &*group.query {
                    Ok(query) => query.matches(&facts),
                    // One that cannot be read must not empty its group, nor keep the others from being evaluated.
                    Err(_) => summary.dynamic_groups.contains(&group.id),
                };
                compiled.groups.iter().filter(is_in).map(|group| group.id).collect()
            }
        };
        summary.place_in(groups);
        Ok(())
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
