//! Follows the feed of changes, so that nothing is remembered of a device that another server has changed.

use std::{collections::BTreeSet, time::Duration};

use futures::StreamExt as _;

use crate::{
    Fleet,
    access::server_keys::ServerKey,
    certificates::CertificateAuthority,
    devices::{Device, DeviceId},
    kernel::{EntityId as _, Result},
    store::{Entity as _, Touched},
    work::{Run, RunId, State, desired::Manifest},
};

/// Changes that are looked at together.
const CHUNK: usize = 500;
/// How long to wait before the feed is followed anew.
const AGAIN: Duration = Duration::from_secs(1);

/// Drops what is remembered of the devices that the store's changes are about, and wakes their sessions, until the store is
/// closed. While it does not run, and where it was interrupted, nothing is remembered.
pub(crate) async fn follow(fleet: &Fleet) {
    let _stop = Forgets(fleet);
    loop {
        match try_follow(fleet).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(
                error = error.log(),
                "the feed broke off and is followed anew in a moment"
            ),
        }
        fleet.known_devices().begin_anew(false);
        tokio::time::sleep(AGAIN).await;
    }
}

/// This may end at any moment, and then nobody hears of changes any more.
struct Forgets<'a>(&'a Fleet);

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        self.0.known_devices().begin_anew(false);
    }
}

async fn try_follow(fleet: &Fleet) -> Result<()> {
    let after = fleet.store().reader().await?.seq();
    let mut changes = fleet.store().changes(after).await?.ready_chunks(CHUNK);
    // Every view from now on shows at least what is there at `after`, and the changes tell of the rest.
    fleet.known_devices().begin_anew(true);
    fleet.certificates().refresh().await?;
    fleet.keys().refresh().await?;
    while let Some(chunk) = changes.next().await {
        let known = fleet.known_devices();
        let (mut devices, mut runs, mut manifests) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let (mut authorities, mut keys) = (false, false);
        for change in chunk {
            let Touched::Document { key, rev, .. } = change?.touched else {
                continue;
            };
            if key.kind == Device::KIND {
                devices.insert(DeviceId::from_uuid(key.id));
            } else if key.kind == Run::KIND {
                let run = RunId::from_uuid(key.id);
                if !known.is_own(run, rev) {
                    runs.insert(run);
                }
            } else if key.kind == Manifest::KIND {
                manifests.insert(DeviceId::from_uuid(key.id));
            } else if key.kind == CertificateAuthority::KIND {
                authorities = true;
            } else if key.kind == ServerKey::KIND {
                keys = true;
            }
        }
        if authorities {
            fleet.certificates().refresh().await?;
        }
        if keys {
            fleet.keys().refresh().await?;
        }
        take(fleet, devices, runs).await?;
        // Who compiles them tells nobody: this does, here and on all other servers.
        for device in manifests {
            known.wake(device);
            fleet.device_signals().signal(device);
        }
    }
    Ok(())
}

async fn take(fleet: &Fleet, devices: BTreeSet<DeviceId>, runs: BTreeSet<RunId>) -> Result<()> {
    let (known, signals) = (fleet.known_devices(), fleet.device_signals());
    // First of all, before anything is read.
    devices.iter().for_each(|device| known.forget(*device));
    if devices.is_empty() && runs.is_empty() {
        return Ok(());
    }
    let mut reader = fleet.store().reader().await?;
    let ids: Vec<_> = devices.into_iter().collect();
    for (id, device) in ids.iter().zip(reader.get_many::<Device>(&ids).await?) {
        if device.is_none_or(|device| device.disabled || device.revoked_at.is_some()) {
            signals.signal(*id);
        }
    }
    // A change names the run and not its device.
    let runs: Vec<_> = runs.into_iter().collect();
    for run in reader.get_many::<Run>(&runs).await?.into_iter().flatten() {
        // What was offered here while nobody waited for it is news as well.
        let is_news = matches!(run.state, State::Queued | State::Offered) || run.cancel_requested_at.is_some();
        if known.wake(run.device) || is_news {
            signals.signal(run.device);
        }
    }
    Ok(())
}
