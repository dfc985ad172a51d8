//! Going over all devices: after a change of a query, and now and then.

use std::time::Duration;

use super::{DeviceGroupService, GroupEdition, GroupEditionId, GroupPass, Membership, RunningPass};
use crate::{
    Fleet,
    access::Context,
    devices::{DeviceEvent, DeviceId, DeviceSummary, GROUPS_EVALUATED, settings::GROUP_EVALUATION},
    kernel::{EntityId as _, PageRequest, Result, Timestamp},
    store::{Evidence, Ingest, Query, Tx, Versioned},
};

/// How often it is looked whether there is something to do: what another server's change waits for at most. One's own rings a bell.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Devices that are looked at together, and the most that one commit changes.
const PAGE: usize = 200;
/// Pages of one look, which goes on at the next one where it ended.
const MAX_PAGES: usize = 500;
/// The lease of the job, which the bell's ringing takes too.
const LEASE: &str = "devices.dynamic_groups";
const LEASE_FOR: Duration = Duration::from_secs(30);

/// What a look came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evaluated {
    /// Devices that were looked at.
    pub devices: u64,
    /// Those whose groups were others than they should have been.
    pub changed: u64,
    /// Whether all is done that was to be done.
    pub complete: bool,
}

impl DeviceGroupService<'_> {
    /// Evaluates all devices, if a query changed since that was done last or the time for it has come. Safe to repeat, and to drop at
    /// any point: it goes on where it was.
    pub async fn evaluate(&self) -> Result<Evaluated> {
        let _alone = self.dynamic.evaluating.lock().await;
        let mut done = Evaluated::default();
        for _ in 0..MAX_PAGES {
            if !self.evaluate_page(&mut done).await? {
                done.complete = true;
                break;
            }
        }
        Ok(done)
    }

    /// One page; false when nothing is to be done.
    pub(super) async fn evaluate_page(&self, done: &mut Evaluated) -> Result<bool> {
        let mut reader = self.store.reader().await?;
        let Some(edition) = reader.get::<GroupEdition>(GroupEditionId::only()).await? else {
            return Ok(false);
        };
        let pass = reader.latest::<GroupPass>(&[GroupEditionId::only()]).await?;
        let mut pass = pass.into_iter().next().flatten().unwrap_or_default();
        let now = self.store.clock().now();
        let every = self.settings.get(&GROUP_EVALUATION).duration();
        let running = match pass.running.take() {
            Some(running) => running,
            None if is_due(&pass, &edition, now, every) => RunningPass {
                edition: edition.number,
                after: None,
            },
            None => return Ok(false),
        };
        let groups = self.dynamic.read(&mut reader).await?;
        let query = Query::<DeviceSummary>::all();
        let page = PageRequest::new(Some(PAGE), running.after.clone())?;
        // A token of a version that counted otherwise: from the beginning.
        let page = match reader.list(&query, &page).await {
            Err(error) if running.after.is_some() && error.code() == crate::kernel::PAGE_TOKEN_INVALID => {
                reader.list(&query, &PageRequest::new(Some(PAGE), None)?).await?
            }
            page => page?,
        };
        let mut misplaced = Vec::new();
        for summary in &page.items {
            let mut placed = summary.value.clone();
            groups.place(&mut reader, &mut placed).await?;
            if placed != summary.value {
                misplaced.push(summary.id);
            }
        }
        // Views are few, and the commit opens its own.
        drop(reader);
        done.devices += page.items.len() as u64;
        done.changed += self.place_again(&misplaced).await?;
        match page.next {
            Some(after) => {
                pass.running = Some(RunningPass {
                    after: Some(after),
                    ..running
                });
            }
            None => (pass.complete, pass.complete_at) = (Some(running.edition), Some(self.store.clock().now())),
        }
        let mut ingest = Ingest::default();
        ingest.set(GroupEditionId::only(), &pass)?;
        self.store.ingest(ingest).await?;
        Ok(true)
    }

    /// Places these devices among the dynamic groups as they are now; how many were not where they belong.
    pub(super) async fn place_again(&self, devices: &[DeviceId]) -> Result<u64> {
        if devices.is_empty() {
            return Ok(0);
        }
        let context = Context::system("groups");
        self.store
            .change(&context, Evidence::Observed, |mut tx| async move {
                let groups = self.dynamic.begin(&mut tx).await?;
                place_all(tx, &groups, devices).await
            })
            .await
    }

    /// Follows the bell, until it is dropped.
    pub(crate) async fn drive(&self, fleet: &Fleet) {
        loop {
            self.dynamic.bell.notified().await;
            if let Err(error) = self.evaluate_alone(fleet).await {
                tracing::warn!(
                    error = error.log(),
                    "dynamic groups were not evaluated; it is tried again in a moment"
                );
            }
        }
    }

    async fn evaluate_alone(&self, fleet: &Fleet) -> Result<()> {
        let backend = self.store.backend();
        // Where another server evaluates, it sees this change by its next look.
        if backend.lease(LEASE, fleet.server(), LEASE_FOR).await?.is_some() {
            self.evaluate().await?;
        }
        Ok(())
    }
}

fn is_due(pass: &GroupPass, edition: &GroupEdition, now: Timestamp, every: Duration) -> bool {
    // Of a clock that was set back the time has come as well.
    let is_old = |at: Timestamp| at > now || now.since(at) >= every;
    pass.complete != Some(edition.number) || (!every.is_zero() && pass.complete_at.is_none_or(is_old))
}

async fn place_all(mut tx: Tx, groups: &Membership, devices: &[DeviceId]) -> Result<u64> {
    let summaries = tx.reader().get_many::<DeviceSummary>(devices).await?;
    let (mut changed, mut first): (u64, Option<DeviceId>) = (0, None);
    for before in summaries.into_iter().flatten() {
        let before: Versioned<DeviceSummary> = before;
        let mut after = before.value.clone();
        groups.place(tx.reader(), &mut after).await?;
        if tx.update(&before, &after)? {
            changed += 1;
            first = first.or(Some(before.id));
        }
    }
    if let Some(first) = first {
        DeviceEvent::new(None, GROUPS_EVALUATED, tx.now())
            .with("devices", changed)
            .with("first", first.uuid().to_string())
            .append_to(&mut tx)?;
        tx.commit().await?;
    }
    Ok(changed)
}
