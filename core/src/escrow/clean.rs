//! What becomes of the secrets of devices that are gone.

use std::{collections::BTreeSet, time::Duration};

use super::{ESCROW_CLEAN, EscrowedSecret};
use crate::{
    Fleet,
    access::Context,
    devices::Device,
    kernel::{MAX_LIMIT, PageRequest, Result, Timestamp},
    store::{Evidence, Query, Versioned},
};

/// How long secrets stay when their device is gone: its disk may lie somewhere, and nothing else opens it.
pub const GONE_LIFE: Duration = Duration::from_secs(90 * 86_400);

/// What becomes of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its device is gone.
    NoteGone,
    /// Its device is there: the server was set back to an older state.
    Keep,
    /// It goes.
    Remove,
}

fn step(gone_since: Option<Timestamp>, is_there: bool, now: Timestamp) -> Option<Step> {
    match gone_since {
        Some(_) if is_there => Some(Step::Keep),
        Some(since) => (now.since(since) >= GONE_LIFE).then_some(Step::Remove),
        None => (!is_there).then_some(Step::NoteGone),
    }
}

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
            let step = step(secret.device_gone_since, there.contains(&secret.device), now)?;
            Some((secret, step))
        });
        take(&fleet, &steps.collect::<Vec<_>>()).await?;
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// Takes steps that were decided on what was read; where somebody was faster, the next look decides anew.
async fn take(fleet: &Fleet, steps: &[(Versioned<EscrowedSecret>, Step)]) -> Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    let context = Context::system("escrow");
    fleet
        .store()
        .change(&context, Evidence::Audit(ESCROW_CLEAN), |mut tx| async move {
            let now = tx.now();
            let ids: Vec<_> = steps.iter().map(|(secret, _)| secret.id).collect();
            let found = tx.reader().get_many::<EscrowedSecret>(&ids).await?;
            let (mut noted, mut removed) = (0_u64, 0_u64);
            for ((seen, step), before) in steps.iter().zip(found) {
                let Some(before) = before.filter(|before| before.rev == seen.rev) else {
                    continue;
                };
                let mut after = before.value.clone();
                match step {
                    Step::NoteGone => {
                        noted += 1;
                        after.device_gone_since = Some(now);
                    }
                    Step::Keep => after.device_gone_since = None,
                    Step::Remove => {
                        removed += 1;
                        tx.delete(&before);
                        continue;
                    }
                }
                tx.update(&before, &after)?;
            }
            tx.detail("devices_gone", noted);
            tx.detail("removed", removed);
            tx.commit().await
        })
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(gone_days: Option<u64>, is_there: bool, expected: Option<Step>) {
        let now = Timestamp::from_seconds(1_800_000_000);
        let since = gone_days.map(|days| now.minus(Duration::from_secs(days * 86_400)));
        assert_eq!(step(since, is_there, now), expected);
    }

    #[test]
    fn ninety_days_without_a_device_and_it_goes() {
        check(None, true, None);
        check(None, false, Some(Step::NoteGone));
        check(Some(89), false, None);
        check(Some(90), false, Some(Step::Remove));
        check(Some(90), true, Some(Step::Keep));
    }
}
