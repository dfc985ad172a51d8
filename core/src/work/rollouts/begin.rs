//! Makes a rollout with its batch, and tells it that others agreed.

use std::collections::BTreeMap;

use super::{Phase, Rollout, RolloutOrder, RolloutPolicy, Wave, rules::divide};
use crate::{
    devices::{DeviceGroup, DeviceGroupId, DeviceId, DeviceSummary, groups::group_not_found},
    kernel::{EntityId as _, Result, Timestamp},
    store::{Reader, Tx},
    work::{Batch, BatchId},
};

/// Devices that are read at once.
const STEP: usize = 500;

/// Somebody agreed to a batch, in the change in which that is stored: its first wave begins then.
pub(crate) async fn agreed(tx: &mut Tx, id: BatchId, start: Timestamp) -> Result<()> {
    if let Some(before) = tx.get::<Rollout>(id).await? {
        let mut rollout = before.value.clone();
        if matches!(rollout.phase, Phase::Pending { .. }) {
            rollout.phase = Phase::Pending {
                until: start,
                approval: false,
            };
        }
        tx.update(&before, &rollout)?;
    }
    Ok(())
}

/// The groups that waves name; an error where one is not there.
pub(in crate::work) async fn groups_of(reader: &mut Reader, policy: &RolloutPolicy) -> Result<Vec<DeviceGroupId>> {
    let wanted: Vec<_> = policy.waves.iter().flat_map(Wave::groups).copied().collect();
    let found = reader.get_many::<DeviceGroup>(&wanted).await?;
    match wanted.iter().zip(found).find(|(_, group)| group.is_none()) {
        Some((id, _)) => Err(group_not_found(*id).with_field("/rollout/waves", format!("no group {id}"))),
        None => Ok(wanted),
    }
}

/// Makes the rollout of a batch that is about to be made, on these devices, in the change in which it is made.
pub(crate) async fn begin(
    tx: &mut Tx,
    batch: &Batch,
    policy: &RolloutPolicy,
    devices: &[DeviceId],
    until: (Timestamp, bool),
) -> Result<()> {
    let wanted = groups_of(tx.reader(), policy).await?;
    let mut groups = BTreeMap::new();
    if !wanted.is_empty() {
        for devices in devices.chunks(STEP) {
            for summary in tx
                .reader()
                .get_many::<DeviceSummary>(devices)
                .await?
                .into_iter()
                .flatten()
            {
                groups.insert(summary.id, summary.value.groups);
            }
        }
    }
    // The ids of runs have nothing to do with what the devices are, and differ from batch to batch.
    let mut shuffled = devices.to_vec();
    shuffled.sort_unstable_by_key(|device| batch.run_on(*device).uuid());
    let (order, waves) = divide(policy, &shuffled, &groups);
    tx.create(&RolloutOrder {
        id: batch.id,
        devices: order,
    })?;
    tx.create(&Rollout {
        id: batch.id,
        operation: batch.operation.clone(),
        policy: policy.clone(),
        waves,
        wave: 0,
        wave_began_at: batch.created_at,
        phase: Phase::Pending {
            until: until.0,
            approval: until.1,
        },
        paused_by: None,
        admitted: 0,
        held: Vec::new(),
        held_until: None,
        failed_before: 0,
        unwell: 0,
        forgiven: 0,
        excused: false,
        holds_back: false,
        takes_back: false,
        created_at: batch.created_at,
    })
}
