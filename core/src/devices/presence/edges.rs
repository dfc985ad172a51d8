//! Committing what the board found, many devices at a time.

use super::{PresenceBoard, board::Entry};
use crate::{
    access::Context,
    devices::{
        DEVICE_OFFLINE, DEVICE_ONLINE, DEVICES_SEEN, Device, DeviceEvent, DeviceId, DeviceSummary, Presence,
        groups::DynamicGroups,
    },
    kernel::{Result, Timestamp},
    store::{Evidence, Store, Tx},
};

/// Devices of one commit.
pub(super) const BATCH: usize = 200;

/// What is true of a device from now on.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub device: DeviceId,
    pub presence: Presence,
    pub entry: Entry,
}

/// What came of a device.
enum Outcome {
    Shown(Presence, Option<Timestamp>, bool),
    Deleted,
}

/// Commits edges, [`BATCH`] devices at a time, each with its row on the device's timeline; returns how many devices came
/// online or went offline. What only notes when a device was seen shares one row.
pub(super) async fn commit(
    store: &Store,
    board: &PresenceBoard,
    dynamic: &DynamicGroups,
    edges: &[Edge],
) -> Result<u64> {
    let context = Context::system("presence");
    let mut turned = 0;
    for edges in edges.chunks(BATCH) {
        let outcomes = store
            .change(&context, Evidence::Observed, |tx| write(tx, dynamic, edges))
            .await?;
        for (edge, outcome) in edges.iter().zip(outcomes) {
            match outcome {
                Outcome::Shown(presence, noted_at, edge_passed) => {
                    board.committed(edge.device, presence, noted_at);
                    turned += u64::from(edge_passed);
                }
                Outcome::Deleted => board.forget(edge.device),
            }
        }
    }
    Ok(turned)
}

async fn write(mut tx: Tx, dynamic: &DynamicGroups, edges: &[Edge]) -> Result<Vec<Outcome>> {
    let now = tx.now();
    let ids: Vec<_> = edges.iter().map(|edge| edge.device).collect();
    let summaries = tx.reader().get_many::<DeviceSummary>(&ids).await?;
    let (mut outcomes, mut noted) = (Vec::with_capacity(edges.len()), 0_u64);
    let mut groups = None;
    for (edge, summary) in edges.iter().zip(summaries) {
        let Some(before) = summary else {
            outcomes.push(Outcome::Deleted);
            continue;
        };
        let mut after = before.value.clone();
        after.presence = edge.presence;
        // Another server may know better; a time that is yet to come is of a clock that was set back.
        after.seen_at = after
            .seen_at
            .filter(|seen_at| *seen_at <= now)
            .max(Some(edge.entry.seen_at));
        if edge.presence == Presence::Online && after.agent_version != edge.entry.agent_version {
            after.agent_version.clone_from(&edge.entry.agent_version);
            // Nothing else that a beat changes is asked for by queries.
            let membership = match groups.take() {
                Some(membership) => membership,
                None => dynamic.begin(&mut tx).await?,
            };
            membership.place(tx.reader(), &mut after).await?;
            groups = Some(membership);
            if let Some(device) = tx.get::<Device>(edge.device).await? {
                let mut newer = device.value.clone();
                newer.agent_version.clone_from(&edge.entry.agent_version);
                tx.update(&device, &newer)?;
            }
        }
        let passed = before.value.presence != after.presence;
        if passed {
            let event = if edge.presence == Presence::Online {
                DEVICE_ONLINE
            } else {
                DEVICE_OFFLINE
            };
            DeviceEvent::new(Some(edge.device), event, now)
                .with("seen_at", edge.entry.seen_at.to_string())
                .append_to(&mut tx)?;
        }
        if tx.update(&before, &after)? && !passed {
            noted += 1;
        }
        outcomes.push(Outcome::Shown(after.presence, after.seen_at, passed));
    }
    if noted > 0 {
        DeviceEvent::new(None, DEVICES_SEEN, now)
            .with("devices", noted)
            .with("first", ids[0].to_string())
            .append_to(&mut tx)?;
    }
    tx.commit().await?;
    Ok(outcomes)
}
