//! Use cases over devices.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Bulk, BulkOutcome, DEVICE_DELETE, DEVICE_GONE, DEVICE_LABEL_REMOVE, DEVICE_LABEL_SET, DEVICE_REJECT, DEVICE_REVOKE,
    DEVICE_UPDATE, Device, DeviceFilter, DeviceOrder, DeviceSummary, DeviceSummaryView, DeviceView, FleetCounts, bulk,
    change_many, check_labels, check_name,
    rules::{check_label, check_label_name, check_not_kept_out},
};
use crate::{
    access::{AuditEntry, Context},
    devices::{
        DEVICES_DELETE, DEVICES_READ, DEVICES_WRITE, DeviceEvent, DeviceId, DeviceLink, DeviceState, PresenceBoard,
        groups::DynamicGroups,
        inventory::{InventorySection, InventorySectionId, Section},
        permissions::{in_scope, not_found, require_in_scope},
    },
    escrow::DeviceDiskKeys,
    kernel::{EntityId as _, Error, PRECONDITION_FAILED, Page, PageRequest, Result},
    live::Signals,
    store::{Evidence, Filter, LaneQuery, Reader, Rev, Store, Tx, Value, Versioned},
    work::desired::{DeviceOwners, DeviceSelections, Manifest, manifest::ManifestState},
};

/// What may be set of a device; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"name": "web-01", "labels": {"site": "berlin", "old": null}})))]
#[serde(default, deny_unknown_fields)]
pub struct DeviceChange {
    /// Its name.
    pub name: Option<String>,
    /// Whether it is kept from connecting.
    pub disabled: Option<bool>,
    /// Whether its agent may be given other versions of itself.
    pub agent_updates_enabled: Option<bool>,
    /// Labels to set; one whose value is null is removed, and those that are not named stay as they are.
    pub labels: BTreeMap<String, Option<String>>,
}

/// Labels to set and to remove on many devices; those that are not named stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({
    "devices": ["019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41"], "set": {"site": "berlin"}, "remove": ["old"]
})))]
#[serde(deny_unknown_fields)]
pub struct LabelChange {
    /// The devices, at most 500.
    pub devices: Vec<DeviceId>,
    /// Labels to set.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Names of labels to remove.
    #[serde(default)]
    pub remove: BTreeSet<String>,
}

/// Reads and changes devices.
#[derive(Debug)]
pub struct DeviceService<'a> {
    pub(super) store: &'a Store,
    presence: &'a PresenceBoard,
    pub(super) signals: &'a Signals<DeviceId>,
    pub(super) dynamic: &'a DynamicGroups,
}

impl<'a> DeviceService<'a> {
    pub(crate) fn new(
        store: &'a Store,
        presence: &'a PresenceBoard,
        signals: &'a Signals<DeviceId>,
        dynamic: &'a DynamicGroups,
    ) -> Self {
        Self {
            store,
            presence,
            signals,
            dynamic,
        }
    }

    /// A page of devices.
    pub async fn list(
        &self,
        context: &Context,
        filter: &DeviceFilter,
        order: DeviceOrder,
        page: &PageRequest,
    ) -> Result<Page<DeviceSummaryView>> {
        let query = order.query(filter.build(&context.require(DEVICES_READ)?)?);
        let found = self.store.reader().await?.list(&query, page).await?;
        Ok(found.map(|summary| summary.value.into()))
    }

    /// How many devices match.
    pub async fn count(&self, context: &Context, filter: &DeviceFilter) -> Result<u64> {
        let filter = filter.build(&context.require(DEVICES_READ)?)?;
        self.store.reader().await?.count::<DeviceSummary>(&filter).await
    }

    /// Counts over the fleet, for the first page.
    pub async fn counts(&self, context: &Context) -> Result<FleetCounts> {
        let filter = in_scope(&context.require(DEVICES_READ)?);
        FleetCounts::read(&mut self.store.reader().await?, &filter).await
    }

    /// One device.
    pub async fn show(&self, context: &Context, id: DeviceId) -> Result<DeviceView> {
        require_in_scope(&context.require(DEVICES_READ)?, id)?;
        let mut reader = self.store.reader().await?;
        let device = reader.get::<Device>(id).await?.ok_or_else(|| not_found(id))?;
        let summary = reader.get::<DeviceSummary>(id).await?;
        let summary = summary.map_or_else(|| DeviceSummary::new(&device.value), |summary| summary.value);
        let state = reader.latest::<DeviceState>(&[id]).await?.pop().flatten();
        Ok(DeviceView::new(device, summary, state.map(Into::into)))
    }

    /// A page of what happened to a device by itself, newest first.
    pub async fn events(&self, context: &Context, id: DeviceId, page: &PageRequest) -> Result<Page<DeviceEvent>> {
        require_in_scope(&context.require(DEVICES_READ)?, id)?;
        let mut reader = self.store.reader().await?;
        reader.get::<Device>(id).await?.ok_or_else(|| not_found(id))?;
        let query = LaneQuery::<DeviceEvent>::newest_first().stream(id.uuid());
        reader.rows(&query, page).await
    }

    /// The device of an agent that calls, to verify its key: the one question that is asked before anybody is recognised.
    /// A deleted device is [`DEVICE_GONE`], which no one else is told.
    pub async fn of_agent(&self, id: DeviceId) -> Result<Versioned<Device>> {
        of_agent(self.store, id).await
    }

    /// Changes one device. With `expected`, only if nobody changed it since that revision.
    pub async fn set(
        &self,
        context: &Context,
        id: DeviceId,
        expected: Option<Rev>,
        change: &DeviceChange,
    ) -> Result<DeviceView> {
        let scope = context.require(DEVICES_WRITE)?;
        require_in_scope(&scope, id)?;
        if let Some(name) = &change.name {
            check_name(name)?;
        }
        let given = |(name, value): (&String, &Option<String>)| match value {
            Some(value) => check_label(name, value),
            None => check_label_name(name),
        };
        change.labels.iter().try_for_each(given)?;
        self.store
            .change(context, Evidence::Audit(DEVICE_UPDATE), |mut tx| async move {
                let before = existing(&mut tx, id, expected).await?;
                let summary = tx.get::<DeviceSummary>(id).await?;
                let mut after = before.value.clone();
                if let Some(name) = &change.name {
                    after.name.clone_from(name);
                }
                for (name, value) in &change.labels {
                    match value {
                        Some(value) => after.labels.insert(name.clone(), value.clone()),
                        None => after.labels.remove(name),
                    };
                }
                check_labels(&after.labels)?;
                after.disabled = change.disabled.unwrap_or(after.disabled);
                after.agent_updates_enabled = change.agent_updates_enabled.unwrap_or(after.agent_updates_enabled);
                for (member, altered) in [
                    ("name", before.value.name != after.name),
                    ("labels", before.value.labels != after.labels),
                    ("disabled", before.value.disabled != after.disabled),
                    (
                        "agent_updates_enabled",
                        before.value.agent_updates_enabled != after.agent_updates_enabled,
                    ),
                ] {
                    if altered {
                        tx.changed(member);
                    }
                }
                tx.subject::<Device>(id, after.name.clone());
                if before.value.disabled != after.disabled {
                    tx.detail("disabled", after.disabled);
                }
                if before.value.agent_updates_enabled != after.agent_updates_enabled {
                    tx.detail("agent_updates_enabled", after.agent_updates_enabled);
                }
                let groups = self.dynamic.begin(&mut tx).await?;
                bulk::write(&mut tx, &groups, &before, &after, summary).await?;
                tx.commit().await
            })
            .await?;
        if change.disabled == Some(true) {
            // Its session looks, and ends.
            self.signals.signal(id);
        }
        // Whoever may write may read what was written.
        let reading = Context::system("devices");
        self.show(&reading, id).await
    }

    /// Sets labels of devices, at most 500 at once; labels that are not named stay.
    pub async fn set_labels(
        &self,
        context: &Context,
        ids: &[DeviceId],
        labels: &BTreeMap<String, String>,
    ) -> Result<BulkOutcome> {
        let change = LabelChange {
            devices: ids.to_vec(),
            set: labels.clone(),
            remove: BTreeSet::new(),
        };
        self.change_labels(context, &change).await
    }

    /// Removes labels of devices, at most 500 at once.
    pub async fn remove_labels(&self, context: &Context, ids: &[DeviceId], names: &[String]) -> Result<BulkOutcome> {
        let change = LabelChange {
            devices: ids.to_vec(),
            set: BTreeMap::new(),
            remove: names.iter().cloned().collect(),
        };
        self.change_labels(context, &change).await
    }

    /// Sets and removes labels of devices, at most 500 at once.
    pub async fn change_labels(&self, context: &Context, change: &LabelChange) -> Result<BulkOutcome> {
        let scope = context.require(DEVICES_WRITE)?;
        check_labels(&change.set)?;
        change.remove.iter().try_for_each(|name| check_label_name(name))?;
        if let Some(name) = change.remove.iter().find(|name| change.set.contains_key(*name)) {
            let why = format!("the label {name} is to be set and to be removed");
            return Err(Error::invalid_field("/remove", why));
        }
        let names: Vec<_> = change.set.keys().cloned().collect();
        let removed: Vec<_> = change.remove.iter().cloned().collect();
        let (action, details): (_, &[_]) = match (names.is_empty(), removed.is_empty()) {
            (true, _) => (DEVICE_LABEL_REMOVE, &[("labels", removed.into())]),
            (false, true) => (DEVICE_LABEL_SET, &[("labels", names.into())]),
            (false, false) => (
                DEVICE_LABEL_SET,
                &[("labels", names.into()), ("removed", removed.into())],
            ),
        };
        let bulk = Bulk {
            context,
            scope: &scope,
            action,
            member: "labels",
            details,
            group: None,
            dynamic: self.dynamic,
            settles: false,
        };
        change_many(self.store, &bulk, &change.devices, |device| {
            let set = change.set.iter().map(|(name, value)| (name.clone(), value.clone()));
            device.labels.extend(set);
            device.labels.retain(|name, _| !change.remove.contains(name));
            check_labels(&device.labels)
        })
        .await
    }

    /// Revokes the key of a device, and its certificate with it: its connections end, and it stays out until it is enrolled
    /// again with a new key. Doing it again changes nothing.
    pub async fn revoke(&self, context: &Context, id: DeviceId) -> Result<DeviceView> {
        require_in_scope(&context.require(DEVICES_WRITE)?, id)?;
        self.store
            .change(context, Evidence::Audit(DEVICE_REVOKE), |mut tx| async move {
                let before = existing(&mut tx, id, None).await?;
                let mut after = before.value.clone();
                after.revoked_at = after.revoked_at.or(Some(tx.now()));
                let serial = after.certificate.take().map(|certificate| certificate.serial);
                tx.update(&before, &after)?;
                tx.subject::<Device>(id, after.name.clone());
                tx.detail("public_key", after.public_key.to_string());
                tx.detail("serial", serial);
                tx.commit().await
            })
            .await?;
        self.signals.signal(id);
        self.show(&Context::system("devices"), id).await
    }

    /// Deletes a device with all that is known of it; what happened on it stays in the audit. Its agent is turned away from
    /// then on.
    pub async fn delete(&self, context: &Context, id: DeviceId, expected: Option<Rev>) -> Result<()> {
        require_in_scope(&context.require(DEVICES_DELETE)?, id)?;
        self.store
            .change(context, Evidence::Audit(DEVICE_DELETE), |mut tx| async move {
                let device = existing(&mut tx, id, expected).await?;
                tx.subject::<Device>(id, device.name.clone());
                tx.detail("public_key", device.public_key.to_string());
                tx.delete(&device);
                // Its secrets in escrow stay: nothing else may open its disk.
                tx.remove::<DeviceSummary>(id);
                tx.remove::<DeviceLink>(id);
                tx.remove::<Manifest>(id);
                tx.remove::<DeviceOwners>(id);
                tx.remove::<DeviceSelections>(id);
                tx.remove::<DeviceDiskKeys>(id);
                for section in Section::ALL {
                    tx.remove::<InventorySection>(InventorySectionId::of(id, section));
                }
                tx.drop_latest::<DeviceState>(id);
                tx.drop_latest::<ManifestState>(id);
                tx.commit().await
            })
            .await?;
        self.presence.forget(id);
        self.signals.signal(id);
        Ok(())
    }
}

pub(super) async fn existing(tx: &mut Tx, id: DeviceId, expected: Option<Rev>) -> Result<Versioned<Device>> {
    let device = tx.get::<Device>(id).await?.ok_or_else(|| not_found(id))?;
    match expected {
        Some(rev) if rev != device.rev => {
            Err(PRECONDITION_FAILED.error("the device was changed since you read it; read it again"))
        }
        _ => Ok(device),
    }
}

/// [`DeviceService::of_agent`].
pub(crate) async fn of_agent(store: &Store, id: DeviceId) -> Result<Versioned<Device>> {
    of_agent_in(&mut store.reader().await?, id).await
}

/// The same by a view that is open already: each costs several turns of the storage's threads.
pub(crate) async fn of_agent_in(reader: &mut Reader, id: DeviceId) -> Result<Versioned<Device>> {
    if let Some(device) = reader.get::<Device>(id).await? {
        check_not_kept_out(&device)?;
        return Ok(device);
    }
    match farewell(reader, id).await? {
        None => Err(not_found(id)),
        Some(_) => Err(DEVICE_GONE.error("this device was deleted on the server; enrol it anew to use it again")),
    }
}

/// The audit entry of how a device that is not there came to its end. A server that was set back to an older state must not make
/// agents believe that they were deleted: the audit says.
pub(crate) async fn farewell(reader: &mut Reader, id: DeviceId) -> Result<Option<AuditEntry>> {
    let page = PageRequest::new(Some(1), None)?;
    for action in [DEVICE_DELETE, DEVICE_REJECT] {
        let ended = LaneQuery::<AuditEntry>::newest_first()
            .filter(Filter::Eq(AuditEntry::SUBJECT, Value::Id(id.uuid())))
            .filter(Filter::Eq(AuditEntry::ACTION, action.name().into()));
        if let Some(entry) = reader.rows(&ended, &page).await?.items.pop() {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}
