//! Going over all devices: after a change of a query, and now and then.

use std::{collections::HashMap, time::Duration};

use super::{DeviceGroupService, GroupEdition, GroupEditionId, GroupPass, Membership, RunningPass};
use crate::{
    Fleet,
    access::Context,
    devices::{
        Device, DeviceEvent, DeviceGroupId, DeviceId, DeviceSummary, GROUPS_EVALUATED, device::write_settled,
        settings::GROUP_EVALUATION,
    },
    kernel::{EntityId as _, PageRequest, Result, Timestamp},
    store::{Evidence, Ingest, Query, Reader, Tx, Versioned},
};

/// How often it is looked whether there is something to do: what another server's change waits for at most. One's own rings a bell.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Devices that are looked at together, and the most that one commit changes.
pub(super) const PAGE: usize = 200;
/// Pages of one look, which goes on at the next one where it ended.
pub(super) const MAX_PAGES: usize = 500;
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

/// What placing devices again came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// Devices that were not where they belong.
    pub changed: u64,
    /// Those of them that came into the group that was asked about.
    pub added: u64,
    /// Those of them that left it.
    pub removed: u64,
}

impl DeviceGroupService<'_> {
    /// Evaluates all devices, if a query changed since that was done last or the time for it has come. Safe to repeat, and to drop at
    /// any point: it goes on where it was.
    pub async fn evaluate(&self) -> Result<Evaluated> {
        let _alone = self.dynamic.evaluating.lock().await;
        let mut done = Evaluated::default();
        for _ in 0..MAX_PAGES {
            if !self.evaluate_page(&mut done, PAGE).await? {
                done.complete = true;
                break;
            }
        }
        Ok(done)
    }

    /// One page of so many devices; false when nothing is to be done.
    pub(super) async fn evaluate_page(&self, done: &mut Evaluated, devices: usize) -> Result<bool> {
        let mut reader = self.store.reader().await?;
        let Some(edition) = reader.get::<GroupEdition>(GroupEditionId::only()).await? else {
            return Ok(false);
        };
        let mut pass = GroupPass::of(&mut reader).await?;
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
        let page = PageRequest::new(Some(devices), running.after.clone())?;
        // A token of a version that counted otherwise: from the beginning.
        let page = match reader.list(&query, &page).await {
            Err(error) if running.after.is_some() && error.code() == crate::kernel::PAGE_TOKEN_INVALID => {
                reader.list(&query, &PageRequest::new(Some(devices), None)?).await?
            }
            page => page?,
        };
        let misplaced = misplaced(&mut reader, &groups, &page.items).await?;
        // Views are few, and the commit opens its own.
        drop(reader);
        done.devices += page.items.len() as u64;
        done.changed += self.place_again(&misplaced, None).await?.changed;
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

    /// Places these devices among the dynamic groups as they are now, and settles them in groups that changed their kind; how many
    /// were not where they belong, and how many came into this group and left it.
    pub(super) async fn place_again(&self, devices: &[DeviceId], group: Option<DeviceGroupId>) -> Result<Moved> {
        if devices.is_empty() {
            return Ok(Moved::default());
        }
        let context = Context::system("groups");
        self.store
            .change(&context, Evidence::Observed, |mut tx| async move {
                let groups = self.dynamic.begin(&mut tx).await?;
                place_all(tx, &groups, devices, group).await
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

/// Those of these devices that are not where they belong.
pub(super) async fn misplaced(
    reader: &mut Reader,
    groups: &Membership,
    summaries: &[Versioned<DeviceSummary>],
) -> Result<Vec<DeviceId>> {
    let mut misplaced = Vec::new();
    for summary in summaries {
        let mut placed = summary.value.clone();
        groups.place(reader, &mut placed).await?;
        if placed != summary.value || !groups.is_settled(&summary.value) {
            misplaced.push(summary.id);
        }
    }
    Ok(misplaced)
}

async fn place_all(
    mut tx: Tx,
    groups: &Membership,
    devices: &[DeviceId],
    group: Option<DeviceGroupId>,
) -> Result<Moved> {
    let summaries = tx.reader().get_many::<DeviceSummary>(devices).await?;
    let summaries: Vec<_> = summaries.into_iter().flatten().collect();
    let unsettled = summaries.iter().filter(|summary| !groups.is_settled(&summary.value));
    let unsettled: Vec<_> = unsettled.map(|summary| summary.id).collect();
    let known = tx.reader().get_many::<Device>(&unsettled).await?;
    let mut known: HashMap<_, _> = known
        .into_iter()
        .flatten()
        .map(|device: Versioned<Device>| (device.id, device))
        .collect();
    let (mut moved, mut first) = (Moved::default(), None);
    for before in summaries {
        let mut after = before.value.clone();
        let is_changed = match known.remove(&before.id) {
            Some(device) => {
                let mut settled = device.value.clone();
                groups.settle(&mut settled, &mut after);
                write_settled(&mut tx, groups, (&device, &settled), (&before, &mut after)).await?
            }
            None => {
                groups.place(tx.reader(), &mut after).await?;
                tx.update(&before, &after)?
            }
        };
        if is_changed {
            moved.changed += 1;
            first = first.or(Some(before.id));
        }
        match group.map(|group| (before.groups.contains(&group), after.groups.contains(&group))) {
            Some((false, true)) => moved.added += 1,
            Some((true, false)) => moved.removed += 1,
            _ => {}
        }
    }
    if let Some(first) = first {
        DeviceEvent::new(None, GROUPS_EVALUATED, tx.now())
            .with("devices", moved.changed)
            .with("first", first.uuid().to_string())
            .append_to(&mut tx)?;
        tx.commit().await?;
    }
    Ok(moved)
}
