//! New devices that wait for an operator: let in, let in as the device that they say they are, or turned away.

use serde::{Deserialize, Serialize};

use super::{
    DEVICE_APPROVE, DEVICE_NOT_PENDING, DEVICE_REJECT, Device, DeviceService, DeviceSummary, DeviceView, Pending,
    rules::check_disabled, service::existing,
};
use crate::{
    access::Context,
    devices::{DEVICES_WRITE, DeviceId, DeviceLink, groups::Membership, permissions::require_in_scope},
    kernel::{Error, Result},
    store::{Evidence, Query, Tx, Versioned},
    work::desired::{DeviceOwners, DeviceSelections, Manifest},
};

/// As what a device is let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ApproveAs {
    /// As a device of its own.
    #[default]
    Itself,
    /// As the known device whose machine id it has: with its history, name, labels and groups. The key of that device counts no more.
    Known,
}

/// How a device is let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"as": "itself"})))]
#[serde(default, deny_unknown_fields)]
pub struct Approval {
    /// As what.
    #[serde(rename = "as")]
    pub approve_as: ApproveAs,
}

impl DeviceService<'_> {
    /// Lets a device in that waits for it; the device that it is from then on.
    pub async fn approve(&self, context: &Context, id: DeviceId, approval: Approval) -> Result<DeviceView> {
        require_in_scope(&context.require(DEVICES_WRITE)?, id)?;
        let now = self
            .store
            .change(context, Evidence::Audit(DEVICE_APPROVE), |mut tx| async move {
                let before = pending(&mut tx, id).await?;
                let groups = self.dynamic.begin(&mut tx).await?;
                match approval.approve_as {
                    ApproveAs::Itself => approve_itself(tx, &groups, before).await,
                    ApproveAs::Known => approve_as_known(tx, &groups, before).await,
                }
            })
            .await?;
        self.signals.signal(id);
        self.signals.signal(now);
        self.show(&Context::system("devices"), now).await
    }

    /// Turns a device away that waits to be let in. It is gone, and its agent stops; its token may have uses left.
    pub async fn reject(&self, context: &Context, id: DeviceId) -> Result<()> {
        require_in_scope(&context.require(DEVICES_WRITE)?, id)?;
        self.store
            .change(context, Evidence::Audit(DEVICE_REJECT), |mut tx| async move {
                let device = pending(&mut tx, id).await?;
                tx.subject::<Device>(id, device.name.clone());
                tx.detail("public_key", device.public_key.to_string());
                remove(&mut tx, &device);
                tx.commit().await
            })
            .await?;
        self.signals.signal(id);
        Ok(())
    }
}

async fn pending(tx: &mut Tx, id: DeviceId) -> Result<Versioned<Device>> {
    let device = existing(tx, id, None).await?;
    match device.pending {
        Some(_) => Ok(device),
        None => Err(DEVICE_NOT_PENDING.error("this device does not wait for an approval")),
    }
}

async fn approve_itself(mut tx: Tx, groups: &Membership, before: Versioned<Device>) -> Result<DeviceId> {
    let id = before.id;
    let mut after = before.value.clone();
    after.pending = None;
    // The known device may have been deleted meanwhile, and then the machine id belongs to this one.
    if let Some(claimed) = &before.claimed_machine_id
        && owner(&mut tx, claimed).await?.is_none()
    {
        (after.machine_id, after.claimed_machine_id, after.duplicate_of) = (Some(claimed.clone()), None, None);
    }
    let summary = tx.get::<DeviceSummary>(id).await?;
    tx.subject::<Device>(id, after.name.clone());
    tx.detail("public_key", after.public_key.to_string());
    if let Some(other) = after.duplicate_of {
        tx.detail("duplicate_of", other.to_string());
    }
    super::write(&mut tx, groups, &before, &after, summary).await?;
    tx.commit().await?;
    Ok(id)
}

async fn approve_as_known(mut tx: Tx, groups: &Membership, claimant: Versioned<Device>) -> Result<DeviceId> {
    let known = match (&claimant.pending, &claimant.claimed_machine_id) {
        (Some(Pending::Duplicate), Some(machine_id)) => owner(&mut tx, machine_id).await?,
        _ => None,
    };
    let known = known.ok_or_else(|| {
        let why = "no known device has the machine id of this one; let it in as itself";
        Error::invalid_field("/as", why)
    })?;
    check_disabled(&known)?;
    let mut after = known.value.clone();
    after.take_key(&claimant);
    after.pending = None;
    let summary = tx.get::<DeviceSummary>(known.id).await?;
    tx.subject::<Device>(known.id, known.name.clone());
    tx.changed("public_key");
    tx.detail("public_key", claimant.public_key.to_string());
    tx.detail("former_public_key", known.public_key.to_string());
    tx.detail("enrolled_as", claimant.id.to_string());
    // First: one key never belongs to two.
    remove(&mut tx, &claimant);
    super::write(&mut tx, groups, &known, &after, summary).await?;
    tx.commit().await?;
    Ok(known.id)
}

async fn owner(tx: &mut Tx, machine_id: &str) -> Result<Option<Versioned<Device>>> {
    let query = Query::<Device>::all().filter(Device::MACHINE_ID.eq(machine_id));
    tx.reader().first(&query).await
}

/// A device that was never let in has nothing but these.
fn remove(tx: &mut Tx, device: &Versioned<Device>) {
    tx.delete(device);
    tx.remove::<DeviceSummary>(device.id);
    tx.remove::<DeviceLink>(device.id);
    tx.remove::<Manifest>(device.id);
    tx.remove::<DeviceOwners>(device.id);
    tx.remove::<DeviceSelections>(device.id);
}
