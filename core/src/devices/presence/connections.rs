//! New connections get their numbers, many in one commit.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{DeviceLink, PresenceBoard};
use crate::{
    access::Context,
    devices::{DEVICE_CONNECTED, Device, DeviceEvent, DeviceId, permissions::not_found},
    gathering::together,
    kernel::{Result, Timestamp},
    store::{Evidence, Store, Tx, Versioned},
};

/// Connections of one commit at most.
pub(super) const TOGETHER: usize = 256;

/// A device that opens a connection with a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connecting {
    pub device: DeviceId,
    pub server: Uuid,
}

/// Gives each connection its number: greater than all before of its device.
pub(super) async fn number(store: &Store, board: &PresenceBoard, connecting: Vec<Connecting>) -> Vec<Result<u64>> {
    let context = Context::system("presence");
    together(connecting, async |connecting| {
        let numbers = store
            .change(&context, Evidence::Observed, |tx| write(tx, &connecting))
            .await?;
        for (Connecting { device, .. }, number) in connecting.iter().zip(&numbers) {
            if let Ok(number) = number {
                board.connected(*device, *number);
            }
        }
        Ok(numbers)
    })
    .await
}

/// A device while its connections are numbered.
struct Numbered {
    device: Versioned<Device>,
    before: Option<Versioned<DeviceLink>>,
    newest: DeviceLink,
}

impl Numbered {
    fn new(device: Versioned<Device>, before: Option<Versioned<DeviceLink>>, now: Timestamp) -> Self {
        let newest = before.as_ref().map_or_else(
            || DeviceLink {
                id: device.value.id,
                server: Uuid::nil(),
                epoch: 0,
                connected_at: now,
            },
            |link| link.value.clone(),
        );
        Self { device, before, newest }
    }
}

async fn write(mut tx: Tx, connecting: &[Connecting]) -> Result<Vec<Result<u64>>> {
    let now = tx.now();
    let mut devices = read(&mut tx, connecting).await?;
    let mut numbers = Vec::with_capacity(connecting.len());
    for Connecting { device: id, server } in connecting {
        let Some(device) = devices.get_mut(id) else {
            numbers.push(Err(not_found(*id)));
            continue;
        };
        let link = &mut device.newest;
        (link.server, link.epoch, link.connected_at) = (*server, link.epoch + 1, now);
        DeviceEvent::new(Some(*id), DEVICE_CONNECTED, now)
            .with("epoch", link.epoch)
            .with("server", server.to_string())
            .append_to(&mut tx)?;
        numbers.push(Ok(link.epoch));
    }
    if devices.is_empty() {
        return Ok(numbers);
    }
    for Numbered { device, before, newest } in devices.values() {
        // A link without its device must not be left behind by a deletion at the same moment.
        tx.require(device);
        match before {
            Some(before) => drop(tx.update(before, newest)?),
            None => tx.create(newest)?,
        }
    }
    tx.commit().await?;
    Ok(numbers)
}

async fn read(tx: &mut Tx, connecting: &[Connecting]) -> Result<BTreeMap<DeviceId, Numbered>> {
    let now = tx.now();
    let mut ids: Vec<_> = connecting.iter().map(|connecting| connecting.device).collect();
    ids.sort_unstable();
    ids.dedup();
    let devices = tx.reader().get_many::<Device>(&ids).await?;
    let links = tx.reader().get_many::<DeviceLink>(&ids).await?;
    let known = devices.into_iter().zip(links);
    Ok(known
        .filter_map(|(device, link)| {
            let device = device?;
            Some((device.value.id, Numbered::new(device, link, now)))
        })
        .collect())
}
