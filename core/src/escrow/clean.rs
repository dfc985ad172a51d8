//! What becomes of the secrets of devices that are gone.

use std::{collections::BTreeSet, time::Duration};

use super::{ESCROW_CLEAN, EscrowedSecret};
use crate::{
    Fleet,
    access::Context,
    devices::Device,
    kernel::{MAX_LIMIT, PageRequest, Result},
    store::{Disuse, Query, Versioned},
};

/// How long secrets stay when their device is gone: its disk may lie somewhere, and nothing else opens it.
pub const GONE_LIFE: Duration = Duration::from_secs(90 * 86_400);

/// Notes which secrets belong to devices that are gone, and removes those that have for 90 days.
pub(super) async fn clean(fleet: Fleet) -> Result<()> {
    let mut after = None;
    loop {
        let page = PageRequest::new(Some(MAX_LIMIT), after.take())?;
        let mut reader = fleet.store().reader().await?;
        let page = reader.list(&Query::<EscrowedSecret>::all(), &page).await?;
        let devices: BTreeSet<_> = page.items.iter().map(|secret| secret.device).collect();
        let devices: Vec<_> = devices.into_iter().collect();
        let found = reader.get_many::<Device>(&devices).await?;
        let there: BTreeSet<_> = found.iter().flatten().map(|device| device.id).collect();
        drop(reader);
        let now = fleet.clock().now();
        let steps = page.items.into_iter().filter_map(|secret| {
            let is_there = there.contains(&secret.device);
            let step = Disuse::of(secret.device_gone_since, is_there, GONE_LIFE, now)?;
            Some((secret, step))
        });
        take(&fleet, &steps.collect::<Vec<_>>()).await?;
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

async fn take(fleet: &Fleet, steps: &[(Versioned<EscrowedSecret>, Disuse)]) -> Result<()> {
    let after = |secret: &EscrowedSecret, step, now| {
        let device_gone_since = match step {
            Disuse::Begins => Some(now),
            // Its device is there: the server was set back to an older state.
            Disuse::Ends => None,
            Disuse::Lapsed => return None,
        };
        Some(EscrowedSecret {
            device_gone_since,
            ..secret.clone()
        })
    };
    let context = Context::system("escrow");
    let store = fleet.store();
    store
        .take_steps(&context, ESCROW_CLEAN, steps, after, |tx, taken| {
            let count = |step| taken.iter().filter(|(_, taken)| *taken == step).count();
            tx.detail("devices_gone", count(Disuse::Begins));
            tx.detail("removed", count(Disuse::Lapsed));
        })
        .await
}
