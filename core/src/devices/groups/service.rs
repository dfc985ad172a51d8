//! Use cases over groups.

use serde::{Deserialize, Serialize};

use super::{
    DeviceGroup, DeviceGroupId, DeviceGroupView, DynamicGroups, GROUP_CREATE, GROUP_DELETE, GROUP_DYNAMIC,
    GROUP_MEMBERS_ADD, GROUP_MEMBERS_REMOVE, GROUP_NAME_TAKEN, GROUP_NOT_FOUND, GROUP_QUERY_NAMES_ITSELF,
    GROUP_TOO_MANY, GROUP_TOO_MANY_DYNAMIC, GROUP_UPDATE, GroupEdition, GroupEditionId, GroupPass, MAX_DYNAMIC_GROUPS,
    evaluation::PAGE, group_not_found, model::query_refused, query::DeviceQuery, require_static,
};
use crate::{
    access::{Context, Scope},
    devices::{
        DeviceId, GROUPS_READ, GROUPS_WRITE,
        device::{
            Bulk, BulkOutcome, DEVICE_NOT_FOUND, DeviceSummary, MAX_BULK, change_many, check_description, check_name,
            fold,
        },
        permissions::in_scope,
    },
    kernel::{EntityId as _, Error, Page, PageRequest, Result, merge_patch::nullable},
    settings::Settings,
    store::{Direction, Evidence, Filter, Query, Reader, Rev, Store, TAKEN, Tx, Versioned},
};

/// The most groups that one device is put into.
const MAX_GROUPS: usize = 256;

/// How often a device is taken out of a group that is emptied, before it is given up.
const MAX_IN_VAIN: u32 = 5;

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
    /// Which devices are in it, such as `os equals debian and labels.env equals prod`; at most 4,096 bytes, and empty for all devices.
    /// Nobody puts devices into a group that has one. Without it devices are put in by hand.
    #[serde(default)]
    pub query: Option<String>,
}

/// What may be set of a group; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"name": "Web servers", "query": "labels.role equals web"})))]
#[serde(default, deny_unknown_fields)]
pub struct DeviceGroupChange {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Which devices are in it, as when it is made. A group that devices were put into by hand becomes dynamic with it: whom the query does
    /// not describe leaves. With null a dynamic group becomes static: its members of this moment stay, and are taken out by hand.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub query: Option<Option<String>>,
}

/// Reads and changes groups.
#[derive(Debug)]
pub struct DeviceGroupService<'a> {
    pub(super) store: &'a Store,
    pub(super) dynamic: &'a DynamicGroups,
    pub(super) settings: &'a Settings,
}

impl<'a> DeviceGroupService<'a> {
    pub(crate) fn new(store: &'a Store, dynamic: &'a DynamicGroups, settings: &'a Settings) -> Self {
        Self {
            store,
            dynamic,
            settings,
        }
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
        let pass = GroupPass::of(&mut reader).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for group in found.items {
            items.push(view(&mut reader, &scope, group, &pass).await?);
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
        let pass = GroupPass::of(&mut reader).await?;
        view(&mut reader, &scope, group, &pass).await
    }

    /// Makes a group. The members of one with a query are found right after, by the evaluation of all devices.
    pub async fn create(&self, context: &Context, new: &NewDeviceGroup) -> Result<DeviceGroupView> {
        context.require(GROUPS_WRITE)?.require_all(GROUPS_WRITE)?;
        check_name(&new.name)?;
        check_description(&new.description)?;
        if let Some(query) = &new.query {
            check_query(&new.name, query)?;
        }
        let now = self.store.clock().now();
        let group = DeviceGroup {
            id: DeviceGroupId::new(now, self.store.random()),
            name: new.name.clone(),
            description: new.description.clone(),
            created_at: now,
            query: new.query.clone(),
            query_edition: None,
        };
        let group = &group;
        self.store
            .change(context, Evidence::Audit(GROUP_CREATE), |mut tx| async move {
                let mut group = group.clone();
                if let Some(query) = &group.query {
                    tx.detail("query", query.as_str());
                    group.query_edition = Some(self.next_edition(&mut tx, Dynamic::OneMore).await?);
                }
                tx.create(&group)?;
                tx.subject::<DeviceGroup>(group.id, group.name.clone());
                tx.commit().await
            })
            .await
            .map_err(name_taken)?;
        self.dynamic.bell.notify_one();
        self.read_back(group.id).await
    }

    /// Renames or describes a group, gives it a query or takes it away. With `expected`, only if nobody changed it since that revision.
    ///
    /// A group that becomes dynamic or static does so in one commit; its members follow with the pass over all devices. Until then
    /// each is in the group as before or as the query says, and those of a group that lost its query do not change at all.
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
                before.require_revision(expected)?;
                let mut after = before.value.clone();
                if let Some(name) = &change.name {
                    after.name.clone_from(name);
                }
                if let Some(description) = &change.description {
                    after.description.clone_from(description);
                }
                if let Some(query) = &change.query {
                    after.query.clone_from(query);
                }
                if let Some(query) = &after.query {
                    check_query(&after.name, query)?;
                }
                if before.value.name != after.name {
                    tx.changed("name");
                }
                if before.value.description != after.description {
                    tx.changed("description");
                }
                if before.value.query != after.query {
                    tx.changed("query");
                    tx.detail("query", after.query.clone());
                    let dynamic = match (&before.value.query, &after.query) {
                        (None, _) => Dynamic::OneMore,
                        (_, None) => Dynamic::OneLess,
                        _ => Dynamic::AsMany,
                    };
                    if dynamic != Dynamic::AsMany {
                        // Who they were can be told from the store of that time only: the audit says how many.
                        let members = DeviceSummary::GROUPS.eq(id.uuid());
                        let members = tx.reader().count::<DeviceSummary>(&members).await?;
                        tx.detail("members", members);
                    }
                    after.query_edition = Some(self.next_edition(&mut tx, dynamic).await?);
                } else if after.query.is_none() && before.value.name != after.name {
                    // Queries may ask for the name of a group that devices are put into.
                    self.next_edition(&mut tx, Dynamic::AsManyIfAny).await?;
                }
                tx.subject::<DeviceGroup>(id, after.name.clone());
                tx.update(&before, &after)?;
                tx.commit().await
            })
            .await
            .map_err(name_taken)?;
        self.dynamic.bell.notify_one();
        self.read_back(id).await
    }

    /// Deletes a group: its devices are taken out of it in batches, then it goes. Safe to repeat when it was interrupted.
    pub async fn delete(&self, context: &Context, id: DeviceGroupId, expected: Option<Rev>) -> Result<()> {
        let scope = context.require(GROUPS_WRITE)?;
        scope.require_all(GROUPS_WRITE)?;
        let group: Option<Versioned<DeviceGroup>> = self.store.get(id).await?;
        if let Some(group) = &group {
            group.require_revision(expected)?;
        }
        if group.as_ref().is_none_or(|group| group.query.is_none()) {
            self.empty(context, &scope, id, group.is_none()).await?;
        }
        let gone = self
            .store
            .change(context, Evidence::Audit(GROUP_DELETE), |mut tx| async move {
                let Some(group) = tx.get::<DeviceGroup>(id).await? else {
                    return Ok(false);
                };
                group.require_revision(expected)?;
                if group.query.is_some() {
                    self.next_edition(&mut tx, Dynamic::OneLess).await?;
                } else if group.query_edition.is_some() {
                    // It may be remembered as one whose members are not settled yet.
                    self.next_edition(&mut tx, Dynamic::AsMany).await?;
                }
                tx.subject::<DeviceGroup>(id, group.value.name.clone());
                tx.delete(&group);
                tx.commit().await.map(|_| true)
            })
            .await?;
        // Who was put in meanwhile comes out now: from here on nobody can be put in any more.
        self.empty(context, &scope, id, true).await?;
        if gone { Ok(()) } else { Err(group_not_found(id)) }
    }

    /// Puts devices into a group, at most 500 at once.
    pub async fn add_members(&self, context: &Context, id: DeviceGroupId, devices: &[DeviceId]) -> Result<BulkOutcome> {
        let scope = context.require(GROUPS_WRITE)?;
        self.require_hand_made(id).await?;
        let bulk = Bulk {
            group: Some(id),
            ..self.members(context, &scope, GROUP_MEMBERS_ADD)
        };
        change_many(self.store, &bulk, devices, |device| {
            device.groups.insert(id);
            if device.groups.len() > MAX_GROUPS {
                return Err(GROUP_TOO_MANY.error(format!("a device is put into at most {MAX_GROUPS} groups")));
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
        self.require_hand_made(id).await?;
        let bulk = Bulk {
            group: Some(id),
            ..self.members(context, &scope, GROUP_MEMBERS_REMOVE)
        };
        change_many(self.store, &bulk, devices, |device| {
            device.groups.remove(&id);
            Ok(())
        })
        .await
    }

    /// Takes all devices out of a group that they were put into, or that does not exist any more.
    async fn empty(&self, context: &Context, scope: &Scope, id: DeviceGroupId, is_gone: bool) -> Result<()> {
        let details = [("group", id.to_string().into())];
        let bulk = Bulk {
            details: &details,
            group: (!is_gone).then_some(id),
            ..self.members(context, scope, GROUP_MEMBERS_REMOVE)
        };
        let query = Query::<DeviceSummary>::all().filter(DeviceSummary::GROUPS.eq(id.uuid()));
        let page = PageRequest::new(Some(MAX_BULK), None)?;
        let (mut first, mut in_vain) = (None, 0);
        loop {
            let found = self.store.reader().await?.list(&query, &page).await?;
            let Some(device) = found.items.first().map(|summary| summary.id) else {
                return Ok(());
            };
            in_vain = if first.replace(device) == Some(device) {
                in_vain + 1
            } else {
                0
            };
            if in_vain == MAX_IN_VAIN {
                return Err(Error::internal(format!(
                    "the device {device} does not leave the group {id}"
                )));
            }
            // In a group that is gone no device is settled any more: it leaves as it came in.
            let (described, put_in): (Vec<_>, Vec<_>) = found
                .items
                .iter()
                .partition(|summary| is_gone && summary.dynamic_groups.contains(&id));
            let described: Vec<_> = described.iter().map(|summary| summary.id).collect();
            for devices in described.chunks(PAGE) {
                self.place_again(devices, None).await?;
            }
            let devices: Vec<_> = put_in.iter().map(|summary| summary.id).collect();
            let outcome = change_many(self.store, &bulk, &devices, |device| {
                device.groups.remove(&id);
                Ok(())
            })
            .await;
            match outcome {
                Ok(_) => {}
                // A device that was deleted meanwhile is an error here and gone from the next look.
                Err(error) if error.code() == DEVICE_NOT_FOUND => {}
                // It got a query meanwhile, or somebody else deleted it: from here on nobody is put in.
                Err(error) if matches!(error.code(), GROUP_DYNAMIC | GROUP_NOT_FOUND) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Counts a change that membership may follow from; the edition's number.
    async fn next_edition(&self, tx: &mut Tx, dynamic: Dynamic) -> Result<u64> {
        let before = tx.get::<GroupEdition>(GroupEditionId::only()).await?;
        let is_change = !matches!(dynamic, Dynamic::AsManyIfAny);
        let after = GroupEdition {
            id: GroupEditionId::only(),
            number: before.as_ref().map_or(0, |before| before.number) + 1,
            token: self.store.new_uuid(),
            dynamic: dynamic.count(before.as_ref().map_or(0, |before| before.dynamic)),
        };
        if after.dynamic > MAX_DYNAMIC_GROUPS {
            return Err(GROUP_TOO_MANY_DYNAMIC.error(format!("there are at most {MAX_DYNAMIC_GROUPS} dynamic groups")));
        }
        match &before {
            Some(before) => drop(tx.update(before, &after)?),
            None if is_change => tx.create(&after)?,
            // The first dynamic group must not miss this change.
            None => tx.require_absent::<GroupEdition>(GroupEditionId::only()),
        }
        Ok(after.number)
    }

    async fn require_hand_made(&self, id: DeviceGroupId) -> Result<()> {
        let found = self.store.get::<DeviceGroup>(id).await?;
        let group = found.ok_or_else(|| group_not_found(id))?;
        require_static(&group)
    }

    fn members<'b>(&'b self, context: &'b Context, scope: &'b Scope, action: crate::access::Action) -> Bulk<'b> {
        Bulk {
            context,
            scope,
            action,
            member: "groups",
            details: &[],
            group: None,
            dynamic: self.dynamic,
            settles: true,
        }
    }

    async fn read_back(&self, id: DeviceGroupId) -> Result<DeviceGroupView> {
        // Whoever may write may read what was written.
        self.show(&Context::system("devices"), id).await
    }
}

/// What a change does to the number of dynamic groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dynamic {
    OneMore,
    OneLess,
    AsMany,
    /// As [`Dynamic::AsMany`], and no change where there never was one.
    AsManyIfAny,
}

impl Dynamic {
    fn count(self, before: u32) -> u32 {
        match self {
            Self::OneMore => before.saturating_add(1),
            Self::OneLess => before.saturating_sub(1),
            Self::AsMany | Self::AsManyIfAny => before,
        }
    }
}

async fn view(
    reader: &mut Reader,
    scope: &Scope,
    group: Versioned<DeviceGroup>,
    pass: &GroupPass,
) -> Result<DeviceGroupView> {
    let members: Filter = in_scope(scope).and(DeviceSummary::GROUPS.eq(group.id.uuid()));
    let members = reader.count::<DeviceSummary>(&members).await?;
    Ok(DeviceGroupView::new(group, members, pass))
}

/// Refuses a text that is no query, and one that names the group that it decides about.
fn check_query(name: &str, text: &str) -> Result<()> {
    let query: DeviceQuery = text.parse().map_err(|error| query_refused(&error, "/query"))?;
    if query.names_group(name) {
        let why = "the query names its own group, whose members it decides about";
        return Err(GROUP_QUERY_NAMES_ITSELF.error(why).with_field("/query", why));
    }
    Ok(())
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
