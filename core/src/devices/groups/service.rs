//! Use cases over groups.

use serde::{Deserialize, Serialize};

use super::{
    DeviceGroup, DeviceGroupId, DeviceGroupView, GROUP_CREATE, GROUP_DELETE, GROUP_MEMBERS_ADD, GROUP_MEMBERS_REMOVE,
    GROUP_NAME_TAKEN, GROUP_TOO_MANY, GROUP_UPDATE, group_not_found,
};
use crate::{
    access::{Context, Scope},
    devices::{
        DeviceId, GROUPS_READ, GROUPS_WRITE,
        device::{Bulk, BulkOutcome, DEVICE_NOT_FOUND, DeviceSummary, MAX_BULK, change_many, check_name, fold},
        permissions::in_scope,
    },
    kernel::{EntityId as _, Error, PRECONDITION_FAILED, Page, PageRequest, Result},
    store::{Direction, Evidence, Filter, Query, Reader, Rev, Store, TAKEN, Versioned},
};

/// The most bytes of a description.
const MAX_DESCRIPTION: usize = 2_000;
/// The most groups of one device.
const MAX_GROUPS: usize = 256;

/// A group to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"name": "Web servers", "description": "Behind the balancer"})))]
#[serde(deny_unknown_fields)]
pub struct NewDeviceGroup {
    /// Its name; no two groups have the same, without regard to case.
    pub name: String,
    /// What it is for; at most 2,000 bytes.
    #[serde(default)]
    pub description: String,
}

/// What may be set of a group; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"name": "Web servers"})))]
#[serde(default, deny_unknown_fields)]
pub struct DeviceGroupChange {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// Reads and changes groups.
#[derive(Debug)]
pub struct DeviceGroupService<'a> {
    store: &'a Store,
}

impl<'a> DeviceGroupService<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// A page of groups, by name; only those whose name begins with `name`, where it is given.
    pub async fn list(
        &self,
        context: &Context,
        name: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<DeviceGroupView>> {
        let scope = context.require(GROUPS_READ)?;
        let mut query = Query::all().order(DeviceGroup::NAME, Direction::Ascending);
        if let Some(name) = name {
            query = query.filter(DeviceGroup::NAME.starts_with(fold(name)));
        }
        let mut reader = self.store.reader().await?;
        let found = reader.list(&query, page).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for group in found.items {
            items.push(view(&mut reader, &scope, group).await?);
        }
        Ok(Page {
            items,
            next: found.next,
        })
    }

    /// One group.
    pub async fn show(&self, context: &Context, id: DeviceGroupId) -> Result<DeviceGroupView> {
        let scope = context.require(GROUPS_READ)?;
        let mut reader = self.store.reader().await?;
        let group = reader.get(id).await?.ok_or_else(|| group_not_found(id))?;
        view(&mut reader, &scope, group).await
    }

    /// Makes a group.
    pub async fn create(&self, context: &Context, new: &NewDeviceGroup) -> Result<DeviceGroupView> {
        context.require(GROUPS_WRITE)?.require_all(GROUPS_WRITE)?;
        check_name(&new.name)?;
        check_description(&new.description)?;
        let now = self.store.clock().now();
        let group = DeviceGroup {
            id: DeviceGroupId::new(now, self.store.random()),
            name: new.name.clone(),
            description: new.description.clone(),
            created_at: now,
        };
        let group = &group;
        self.store
            .change(context, Evidence::Audit(GROUP_CREATE), |mut tx| async move {
                tx.create(group)?;
                tx.subject::<DeviceGroup>(group.id, group.name.clone());
                tx.commit().await
            })
            .await
            .map_err(name_taken)?;
        self.read_back(group.id).await
    }

    /// Renames or describes a group. With `expected`, only if nobody changed it since that revision.
    pub async fn set(
        &self,
        context: &Context,
        id: DeviceGroupId,
        expected: Option<Rev>,
        change: &DeviceGroupChange,
    ) -> Result<DeviceGroupView> {
        context.require(GROUPS_WRITE)?.require_all(GROUPS_WRITE)?;
        change.name.as_deref().map(check_name).transpose()?;
        change.description.as_deref().map(check_description).transpose()?;
        self.store
            .change(context, Evidence::Audit(GROUP_UPDATE), |mut tx| async move {
                let before: Versioned<DeviceGroup> = tx.get(id).await?.ok_or_else(|| group_not_found(id))?;
                check_revision(&before, expected)?;
                let mut after = before.value.clone();
                if let Some(name) = &change.name {
                    after.name.clone_from(name);
                }
                if let Some(description) = &change.description {
                    after.description.clone_from(description);
                }
                if before.value.name != after.name {
                    tx.changed("name");
                }
                if before.value.description != after.description {
                    tx.changed("description");
                }
                tx.subject::<DeviceGroup>(id, after.name.clone());
                tx.update(&before, &after)?;
                tx.commit().await
            })
            .await
            .map_err(name_taken)?;
        self.read_back(id).await
    }

    /// Deletes a group: its devices are taken out of it in batches, then it goes. Safe to repeat when it was interrupted.
    pub async fn delete(&self, context: &Context, id: DeviceGroupId, expected: Option<Rev>) -> Result<()> {
        let scope = context.require(GROUPS_WRITE)?;
        scope.require_all(GROUPS_WRITE)?;
        let group: Option<Versioned<DeviceGroup>> = self.store.get(id).await?;
        if let Some(group) = &group {
            check_revision(group, expected)?;
        }
        self.empty(context, &scope, id).await?;
        let gone = self
            .store
            .change(context, Evidence::Audit(GROUP_DELETE), |mut tx| async move {
                let Some(group) = tx.get::<DeviceGroup>(id).await? else {
                    return Ok(false);
                };
                check_revision(&group, expected)?;
                tx.subject::<DeviceGroup>(id, group.value.name.clone());
                tx.delete(&group);
                tx.commit().await.map(|_| true)
            })
            .await?;
        // Who was put in meanwhile comes out now: from here on nobody can be put in any more.
        self.empty(context, &scope, id).await?;
        if gone { Ok(()) } else { Err(group_not_found(id)) }
    }

    /// Puts devices into a group, at most 500 at once.
    pub async fn add_members(&self, context: &Context, id: DeviceGroupId, devices: &[DeviceId]) -> Result<BulkOutcome> {
        let scope = context.require(GROUPS_WRITE)?;
        self.exists(id).await?;
        let bulk = Bulk {
            group: Some(id),
            ..members(context, &scope, GROUP_MEMBERS_ADD)
        };
        change_many(self.store, &bulk, devices, |device| {
            device.groups.insert(id);
            if device.groups.len() > MAX_GROUPS {
                return Err(GROUP_TOO_MANY.error(format!("a device is in at most {MAX_GROUPS} groups")));
            }
            Ok(())
        })
        .await
    }

    /// Takes devices out of a group, at most 500 at once.
    pub async fn remove_members(
        &self,
        context: &Context,
        id: DeviceGroupId,
        devices: &[DeviceId],
    ) -> Result<BulkOutcome> {
        let scope = context.require(GROUPS_WRITE)?;
        self.exists(id).await?;
        let bulk = Bulk {
            group: Some(id),
            ..members(context, &scope, GROUP_MEMBERS_REMOVE)
        };
        change_many(self.store, &bulk, devices, |device| {
            device.groups.remove(&id);
            Ok(())
        })
        .await
    }

    /// Takes all devices out of a group, whether or not it still exists.
    async fn empty(&self, context: &Context, scope: &Scope, id: DeviceGroupId) -> Result<()> {
        let details = [("group", id.to_string().into())];
        let bulk = Bulk {
            details: &details,
            ..members(context, scope, GROUP_MEMBERS_REMOVE)
        };
        let query = Query::<DeviceSummary>::all().filter(DeviceSummary::GROUPS.eq(id.uuid()));
        let page = PageRequest::new(Some(MAX_BULK), None)?;
        loop {
            let found = self.store.reader().await?.list(&query, &page).await?;
            let devices: Vec<_> = found.items.iter().map(|summary| summary.id).collect();
            if devices.is_empty() {
                return Ok(());
            }
            // A device that was deleted meanwhile is an error here and gone from the next look.
            let outcome = change_many(self.store, &bulk, &devices, |device| {
                device.groups.remove(&id);
                Ok(())
            })
            .await;
            outcome.or_else(|error| match error.code() {
                DEVICE_NOT_FOUND => Ok(BulkOutcome::default()),
                _ => Err(error),
            })?;
        }
    }

    async fn exists(&self, id: DeviceGroupId) -> Result<()> {
        let found = self.store.get::<DeviceGroup>(id).await?;
        found.map(drop).ok_or_else(|| group_not_found(id))
    }

    async fn read_back(&self, id: DeviceGroupId) -> Result<DeviceGroupView> {
        // Whoever may write may read what was written.
        self.show(&Context::system("devices"), id).await
    }
}

fn members<'a>(context: &'a Context, scope: &'a Scope, action: crate::access::Action) -> Bulk<'a> {
    Bulk {
        context,
        scope,
        action,
        member: "groups",
        details: &[],
        group: None,
    }
}

async fn view(reader: &mut Reader, scope: &Scope, group: Versioned<DeviceGroup>) -> Result<DeviceGroupView> {
    let members: Filter = in_scope(scope).and(DeviceSummary::GROUPS.eq(group.id.uuid()));
    Ok(DeviceGroupView {
        id: group.id,
        revision: group.rev,
        members: reader.count::<DeviceSummary>(&members).await?,
        name: group.value.name,
        description: group.value.description,
        created_at: group.value.created_at,
    })
}

fn check_description(text: &str) -> Result<()> {
    if text.len() <= MAX_DESCRIPTION && !text.contains('\0') {
        Ok(())
    } else {
        let why = format!("a description is at most {MAX_DESCRIPTION} bytes without U+0000");
        Err(Error::invalid_field("/description", why))
    }
}

fn check_revision(group: &Versioned<DeviceGroup>, expected: Option<Rev>) -> Result<()> {
    match expected {
        Some(rev) if rev != group.rev => {
            Err(PRECONDITION_FAILED.error("the group was changed since you read it; read it again"))
        }
        _ => Ok(()),
    }
}

fn name_taken(error: Error) -> Error {
    if error.code() == TAKEN {
        GROUP_NAME_TAKEN
            .error("another group has this name")
            .with_field("/name", "already taken")
    } else {
        error
    }
}
