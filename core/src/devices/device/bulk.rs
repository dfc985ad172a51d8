//! One change to many devices, in batches that stay small.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{DEVICE_TOO_MANY, Device, DeviceSummary};
use crate::{
    access::{Action, Context, Scope},
    devices::{
        DeviceId,
        groups::{DeviceGroup, DeviceGroupId, DynamicGroups, Membership, group_not_found, require_static},
        permissions::{not_found, require_in_scope},
    },
    kernel::{Error, Result},
    store::{Evidence, Store, Tx, Versioned},
};

/// The most devices of one call.
pub const MAX_BULK: usize = 500;
/// Devices that are changed in one commit, with one audit entry that names them.
const BATCH: usize = 100;

/// What a change to many devices came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BulkOutcome {
    /// How many devices were changed.
    pub changed: u64,
    /// How many were as wanted already.
    pub unchanged: u64,
    /// The devices that were left as they are, and why.
    pub failed: Vec<BulkFailure>,
}

/// Why one device of many was left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BulkFailure {
    /// The device.
    pub device: DeviceId,
    /// The code of the error, such as `device.not_found`.
    pub code: String,
    /// The text for people.
    pub message: String,
}

/// How many devices are changed, and how that is accounted for.
pub(crate) struct Bulk<'a> {
    pub context: &'a Context,
    pub scope: &'a Scope,
    pub action: Action,
    /// The member that changes, for the audit.
    pub member: &'static str,
    /// Details for the audit.
    pub details: &'a [(&'static str, serde_json::Value)],
    /// A group that must exist when the change is committed, and that devices are put into by hand.
    pub group: Option<DeviceGroupId>,
    /// Where the devices are placed anew.
    pub dynamic: &'a DynamicGroups,
    /// Whether what changes is who is in a group: then devices are settled first in groups that changed their kind.
    pub settles: bool,
}

/// Changes many devices and their summaries, some in each commit. What is wrong with one does not keep the others.
pub(crate) async fn change_many<F>(store: &Store, bulk: &Bulk<'_>, ids: &[DeviceId], edit: F) -> Result<BulkOutcome>
where
    F: Fn(&mut Device) -> Result<()> + Sync,
{
    if ids.len() > MAX_BULK {
        return Err(DEVICE_TOO_MANY.error(format!("at most {MAX_BULK} devices at once")));
    }
    let ids: Vec<_> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let (edit, mut outcome, mut last) = (&edit, BulkOutcome::default(), None);
    for batch in ids.chunks(BATCH) {
        let (changed, failed) = store
            .change(bulk.context, Evidence::Audit(bulk.action), |tx| {
                change_batch(tx, bulk, batch, edit)
            })
            .await?;
        outcome.changed += changed;
        outcome.unchanged += (batch.len() - failed.len()) as u64 - changed;
        for (device, error) in failed {
            outcome.failed.push(BulkFailure {
                device,
                code: error.code().name().to_owned(),
                message: error.message().to_owned(),
            });
            last = Some(error);
        }
    }
    match (last, ids.len()) {
        // Of a single device the error is the answer.
        (Some(error), 1) => Err(error),
        _ => Ok(outcome),
    }
}

async fn change_batch<F>(
    mut tx: Tx,
    bulk: &Bulk<'_>,
    ids: &[DeviceId],
    edit: &F,
) -> Result<(u64, Vec<(DeviceId, Error)>)>
where
    F: Fn(&mut Device) -> Result<()> + Sync,
{
    let mut group_name = None;
    if let Some(id) = bulk.group {
        let group = tx.get::<DeviceGroup>(id).await?.ok_or_else(|| group_not_found(id))?;
        require_static(&group)?;
        tx.require(&group);
        group_name = Some((id, group.value.name));
    }
    let groups = bulk.dynamic.begin(&mut tx).await?;
    let devices = tx.reader().get_many::<Device>(ids).await?;
    let summaries = tx.reader().get_many::<DeviceSummary>(ids).await?;
    let (mut changed, mut failed) = (Vec::new(), Vec::new());
    for ((id, device), summary) in ids.iter().zip(devices).zip(summaries) {
        let device = require_in_scope(bulk.scope, *id).and_then(|()| device.ok_or_else(|| not_found(*id)));
        let edited = device.and_then(|before| {
            let mut after = before.value.clone();
            let mut shown = summary
                .as_ref()
                .filter(|_| bulk.settles)
                .map(|shown| shown.value.clone());
            if let Some(shown) = &mut shown {
                groups.settle(&mut after, shown);
            }
            let settled = after.clone();
            edit(&mut after)?;
            Ok((before, settled != after, after, shown))
        });
        match edited {
            Err(error) => failed.push((*id, error)),
            // What is not settled yet is left for the pass that is under way.
            Ok((_, false, ..)) => {}
            Ok((before, true, after, shown)) => {
                match (summary, shown) {
                    (Some(summary), Some(mut shown)) => {
                        write_settled(&mut tx, &groups, (&before, &after), (&summary, &mut shown)).await?;
                    }
                    (summary, _) => drop(write(&mut tx, &groups, &before, &after, summary).await?),
                }
                changed.push(after);
            }
        }
    }
    let count = changed.len() as u64;
    match (group_name, changed.as_slice()) {
        (Some((id, name)), _) => tx.subject::<DeviceGroup>(id, name),
        (None, [device]) => tx.subject::<Device>(device.id, device.name.clone()),
        _ => {}
    }
    tx.changed(bulk.member);
    for (name, value) in bulk.details {
        tx.detail(*name, value.clone());
    }
    let names: Vec<_> = changed.iter().map(|device| device.id.to_string()).collect();
    tx.detail("devices", names);
    tx.commit().await?;
    Ok((count, failed))
}

/// Writes a device and what its summary shows of it, its place among the dynamic groups included; returns whether anything changed.
pub(crate) async fn write(
    tx: &mut Tx,
    groups: &Membership,
    before: &Versioned<Device>,
    after: &Device,
    summary: Option<Versioned<DeviceSummary>>,
) -> Result<bool> {
    if !tx.update(before, after)? {
        return Ok(false);
    }
    match summary {
        Some(shown) => {
            let mut summary = shown.value.clone();
            summary.show(after);
            groups.place(tx.reader(), &mut summary).await?;
            tx.update(&shown, &summary)?;
        }
        None => {
            let mut summary = DeviceSummary::new(after);
            groups.place(tx.reader(), &mut summary).await?;
            tx.create(&summary)?;
        }
    }
    Ok(true)
}

/// Writes a device and its summary that were settled in their groups (`Membership::settle`), its place among the dynamic groups
/// included; returns whether anything changed.
pub(crate) async fn write_settled(
    tx: &mut Tx,
    groups: &Membership,
    (before, after): (&Versioned<Device>, &Device),
    (shown, summary): (&Versioned<DeviceSummary>, &mut DeviceSummary),
) -> Result<bool> {
    let is_changed = tx.update(before, after)?;
    summary.show(after);
    groups.place(tx.reader(), summary).await?;
    Ok(tx.update(shown, summary)? || is_changed)
}
