//! Keeping manifests current: after changes, after groups changed, and now and then for all devices.

use std::{collections::BTreeSet, ops::Bound, time::Duration};

use super::{
    Manifest, ManifestContent, ManifestEvent, ManifestEventKind, ManifestProgress, ManifestProgressId, ManifestService,
    Round,
    write::{look, write},
};
use crate::{
    Fleet,
    access::{Context, users::User},
    devices::{Device, DeviceGroup, DeviceId, DeviceSummary},
    kernel::{EntityId as _, MAX_LIMIT, PAGE_TOKEN_INVALID, Page, PageRequest, PageToken, Result},
    store::{Direction, Entity, Evidence, Ingest, Query, Reader, Versioned},
    work::desired::{
        DesiredChange, DesiredChangeId, DeviceOwners, Target, assignments::AssignmentService, catalogue::Catalogue,
    },
};

/// Devices that are looked at together, and the most that one commit writes.
const STEP: usize = MAX_LIMIT;
/// Steps of one look, which goes on at the next one where it ended.
const MAX_STEPS: usize = 400;
/// The most changes that are worked off together.
const MAX_CHANGES: usize = 256;
/// The time between two passes over all devices.
const PASS_EVERY: Duration = Duration::from_secs(600);
/// The lease of the job, which the bell's ringing takes too.
const LEASE: &str = "work.manifests";
const LEASE_FOR: Duration = Duration::from_secs(30);
/// How long a content is kept that no device has.
const KEEP_CONTENT: Duration = Duration::from_secs(30 * 86_400);
/// What a look came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Devices that were looked at.
    pub devices: u64,
    /// Those whose manifest was another than it should have been.
    pub changed: u64,
    /// Commits that wrote manifests.
    pub commits: u64,
    /// Whether all is done that was to be done.
    pub complete: bool,
}

/// The job: everything that is to be done, on one server at a time.
pub(crate) async fn compile_pending(fleet: Fleet) -> Result<()> {
    fleet.desired().manifests().keep_current().await.map(drop)
}

/// The job: removes contents that no device has had for thirty days.
pub(crate) async fn remove_idle_contents(fleet: Fleet) -> Result<()> {
    fleet.desired().manifests().remove_idle().await.map(drop)
}

impl ManifestService<'_> {
    /// Compiles the manifests of all devices that changes may concern, and of all devices when the time for it has come. Safe to repeat,
    /// and to drop at any point: it goes on where it was.
    pub async fn keep_current(&self) -> Result<Kept> {
        self.keep(true).await
    }

    /// Follows the bell, and answers devices, until it is dropped.
    pub(crate) async fn drive(&self, fleet: &Fleet) {
        tokio::join!(self.follow_bell(fleet), self.drive_confirmations());
    }

    async fn follow_bell(&self, fleet: &Fleet) {
        loop {
            self.catalogues.bell().notified().await;
            if let Err(error) = self.keep_alone(fleet).await {
                tracing::warn!(
                    error = error.log(),
                    "manifests were not compiled; it is tried again in a moment"
                );
            }
        }
    }

    /// What was marked here is for this server. The rest is for whoever has the lease, which sees it by its next look.
    async fn keep_alone(&self, fleet: &Fleet) -> Result<()> {
        self.keep(false).await?;
        let mut reader = self.store.reader().await?;
        let is_open = reader.first(&Query::<DesiredChange>::all()).await?.is_some();
        drop(reader);
        let backend = self.store.backend();
        if is_open && backend.lease(LEASE, fleet.server(), LEASE_FOR).await?.is_some() {
            self.keep(true).await?;
        }
        Ok(())
    }

    async fn keep(&self, all: bool) -> Result<Kept> {
        let _alone = self.catalogues.compiling.lock().await;
        let mut kept = Kept::default();
        for _ in 0..MAX_STEPS {
            let did = self.compile_marked(&mut kept).await?
                || (all && (self.work_off(&mut kept).await? || self.pass(&mut kept).await?));
            if !did {
                kept.complete = true;
                break;
            }
        }
        Ok(kept)
    }

    /// Compiles devices whose groups changed.
    async fn compile_marked(&self, kept: &mut Kept) -> Result<bool> {
        let marked = self.catalogues.marks.take(STEP);
        if marked.is_empty() {
            return Ok(false);
        }
        let done = self.compile(&marked, kept).await;
        if done.is_err() {
            self.catalogues.marks.put_back(&marked);
        }
        done.map(|()| true)
    }

    /// One step of the changes that are remembered; false when there are none.
    pub(in crate::work::desired) async fn work_off(&self, kept: &mut Kept) -> Result<bool> {
        let mut reader = self.store.reader().await?;
        let mut progress = progress(&mut reader).await?;
        let (mut ids, mut start) = (Vec::new(), None);
        if let Some(round) = progress.round.take() {
            (ids, start) = (round.changes, Some((round.target, round.after)));
        }
        let mut changes: Vec<_> = reader
            .get_many::<DesiredChange>(&ids)
            .await?
            .into_iter()
            .flatten()
            .collect();
        if changes.is_empty() {
            let page = PageRequest::new(Some(MAX_CHANGES), None)?;
            changes = reader.list(&Query::<DesiredChange>::all(), &page).await?.items;
            start = None;
        }
        if changes.is_empty() {
            return Ok(false);
        }
        if changes.iter().any(|change| change.everyone) {
            drop(reader);
            return self.work_off_by_pass(progress, changes).await.map(|()| true);
        }
        let ids: Vec<DesiredChangeId> = changes.iter().map(|change| change.id).collect();
        let catalogue = self.catalogues.read(&mut reader, self.operations).await?;
        let sources = changes
            .iter()
            .flat_map(|change| change.sources.iter().copied())
            .collect();
        let mut targets = catalogue.targets_of(&sources);
        targets.extend(changes.iter().flat_map(|change| change.targets.iter().copied()));
        let (devices, next) = next_devices(&mut reader, &targets, start).await?;
        // Views are few, and the commit opens its own.
        drop(reader);
        self.compile(&devices, kept).await?;
        progress.round = next.map(|(target, after)| Round {
            changes: ids,
            target,
            after,
        });
        if progress.round.is_none() {
            self.finish(&changes).await?;
        }
        self.save(&progress).await?;
        Ok(true)
    }

    /// Has a pass over all devices make good what changes of everybody's state are about; and with them the others.
    async fn work_off_by_pass(&self, progress: ManifestProgress, changes: Vec<Versioned<DesiredChange>>) -> Result<()> {
        // One that is on its way has passed some of them: it begins anew.
        self.save(&ManifestProgress {
            round: None,
            pass_after: None,
            is_passing: true,
            ..progress
        })
        .await?;
        self.finish(&changes).await
    }

    /// The devices of these changes are all compiled, or will be by a pass that has begun.
    async fn finish(&self, changes: &[Versioned<DesiredChange>]) -> Result<()> {
        let context = Context::system("work.manifests");
        self.store
            .change(&context, Evidence::Observed, |mut tx| async move {
                for change in changes {
                    tx.remove::<DesiredChange>(change.id);
                }
                let (now, salt) = (tx.now(), self.store.new_uuid());
                ManifestEvent::fleet(ManifestEventKind::ChangesDone, changes.len(), now).append_to(&mut tx, salt)?;
                tx.commit().await
            })
            .await
            .map(drop)
    }

    /// One page of the pass over all devices; false when none is due.
    pub(in crate::work::desired) async fn pass(&self, kept: &mut Kept) -> Result<bool> {
        let mut reader = self.store.reader().await?;
        let mut progress = progress(&mut reader).await?;
        let now = self.store.clock().now();
        // Of a clock that was set back the time has come as well.
        let is_old = |at| at > now || now.since(at) >= PASS_EVERY;
        let has_overflown = self.catalogues.marks.take_overflow();
        if !progress.is_passing && !has_overflown && !progress.passed_at.is_none_or(is_old) {
            return Ok(false);
        }
        let catalogue = self.catalogues.read(&mut reader, self.operations).await?;
        let is_used = !catalogue.is_empty() || reader.first(&Query::<Manifest>::all()).await?.is_some();
        let mut next = None;
        if is_used {
            let page = page_of(&mut reader, &Query::<DeviceSummary>::all(), progress.pass_after.take()).await?;
            let devices: Vec<_> = page.items.iter().map(|summary| summary.id).collect();
            next = page.next;
            if next.is_none() {
                let gone = gone(&mut reader, &catalogue).await?;
                drop(reader);
                AssignmentService::new(self.store, self.catalogues)
                    .drop_to(&gone)
                    .await?;
            } else {
                drop(reader);
            }
            self.compile(&devices, kept).await?;
        }
        progress.is_passing = next.is_some();
        progress.pass_after = next;
        if !progress.is_passing {
            progress.passed_at = Some(self.store.clock().now());
        }
        self.save(&progress).await?;
        Ok(true)
    }

    async fn save(&self, progress: &ManifestProgress) -> Result<()> {
        let mut ingest = Ingest::default();
        ingest.set(ManifestProgressId::only(), progress)?;
        self.store.ingest(ingest).await
    }

    /// Compiles these devices, at most [`STEP`]: in one commit, unless they differ much.
    async fn compile(&self, devices: &[DeviceId], kept: &mut Kept) -> Result<()> {
        let context = Context::system("work.manifests");
        kept.devices += devices.len() as u64;
        let mut rest = devices;
        while !rest.is_empty() {
            let (changed, done) = self
                .store
                .change(&context, Evidence::Observed, |mut tx| async move {
                    let catalogue = self.catalogues.begin(&mut tx, self.operations).await?;
                    let (looked, done) = look(&mut tx, &catalogue, rest).await?;
                    let changed = write(&mut tx, &catalogue, &looked, self.store.new_uuid()).await?;
                    tx.commit().await?;
                    Ok((changed, done))
                })
                .await?;
            kept.changed += changed;
            kept.commits += u64::from(changed > 0);
            rest = rest.get(done.max(1)..).unwrap_or_default();
        }
        Ok(())
    }

    /// Removes contents that no device has had for long; how many. Bounded, and safe to repeat.
    pub async fn remove_idle(&self) -> Result<u64> {
        let context = Context::system("work.manifest_contents");
        self.store
            .change(&context, Evidence::Observed, |mut tx| async move {
                let now = tx.now();
                let is_old = ManifestContent::USED_AT.below(now.minus(KEEP_CONTENT));
                let query = Query::all()
                    .filter(is_old)
                    .order(ManifestContent::USED_AT, Direction::Ascending);
                let page = PageRequest::new(Some(100), None)?;
                let mut removed = 0;
                for content in tx.list::<ManifestContent>(&query, &page).await?.items {
                    let having = Manifest::CONTENT.eq(content.id.uuid());
                    if tx.reader().count::<Manifest>(&having).await? == 0 {
                        tx.delete(&content);
                        removed += 1;
                    } else {
                        let mut used = content.value.clone();
                        used.used_at = now;
                        tx.update(&content, &used)?;
                    }
                }
                if !tx.is_empty() {
                    let salt = self.store.new_uuid();
                    ManifestEvent::fleet(ManifestEventKind::ContentsRemoved, removed, now).append_to(&mut tx, salt)?;
                }
                tx.commit().await?;
                Ok(removed as u64)
            })
            .await
    }
}

async fn progress(reader: &mut Reader) -> Result<ManifestProgress> {
    let found = reader.latest::<ManifestProgress>(&[ManifestProgressId::only()]).await?;
    Ok(found.into_iter().next().flatten().unwrap_or_default())
}

/// A page of a list; from its beginning when the token is of a version that counted otherwise.
async fn page_of<T: Entity>(
    reader: &mut Reader,
    query: &Query<T>,
    after: Option<PageToken>,
) -> Result<Page<Versioned<T>>> {
    let goes_on = after.is_some();
    match reader.list(query, &PageRequest::new(Some(STEP), after)?).await {
        Err(error) if goes_on && error.code() == PAGE_TOKEN_INVALID => {
            reader.list(query, &PageRequest::new(Some(STEP), None)?).await
        }
        page => page,
    }
}

/// As many devices of targets as are looked at together, and where the next ones are. Whoever is among the targets now and was not when the
/// round began is so by a change of its own.
async fn next_devices(
    reader: &mut Reader,
    targets: &BTreeSet<Target>,
    mut start: Option<(Target, Option<PageToken>)>,
) -> Result<(Vec<DeviceId>, Option<(Target, Option<PageToken>)>)> {
    let from = start
        .as_ref()
        .map_or(Bound::Unbounded, |(target, _)| Bound::Included(*target));
    let mut devices = BTreeSet::new();
    let mut next = None;
    for target in targets.range((from, Bound::Unbounded)).copied() {
        let after = start
            .take()
            .filter(|(begun, _)| *begun == target)
            .and_then(|(_, after)| after);
        let (found, rest) = devices_of(reader, target, after.clone()).await?;
        if !devices.is_empty() && devices.len() + found.len() > STEP {
            next = Some((target, after));
            break;
        }
        devices.extend(found);
        if rest.is_some() {
            next = Some((target, rest));
            break;
        }
    }
    Ok((devices.into_iter().collect(), next))
}

/// Some of the devices of a target, and where they go on.
async fn devices_of(
    reader: &mut Reader,
    target: Target,
    after: Option<PageToken>,
) -> Result<(Vec<DeviceId>, Option<PageToken>)> {
    match target {
        Target::Device(device) => Ok((vec![device], None)),
        Target::DeviceGroup(group) => {
            let query = Query::all().filter(DeviceSummary::GROUPS.eq(group.uuid()));
            let page = page_of::<DeviceSummary>(reader, &query, after).await?;
            Ok((page.items.iter().map(|summary| summary.id).collect(), page.next))
        }
        Target::User(user) => {
            let query = Query::all().filter(DeviceOwners::USERS.eq(user.uuid()));
            let page = page_of::<DeviceOwners>(reader, &query, after).await?;
            Ok((page.items.iter().map(|owners| owners.id).collect(), page.next))
        }
    }
}

/// The targets of assignments that there are no more.
async fn gone(reader: &mut Reader, catalogue: &Catalogue) -> Result<Vec<Target>> {
    let (mut devices, mut groups, mut users) = (Vec::new(), Vec::new(), Vec::new());
    for target in catalogue.world.assignments.keys() {
        match target {
            Target::Device(id) => devices.push(*id),
            Target::DeviceGroup(id) => groups.push(*id),
            Target::User(id) => users.push(*id),
        }
    }
    let mut gone = missing::<Device>(reader, &devices, Target::Device).await?;
    gone.extend(missing::<DeviceGroup>(reader, &groups, Target::DeviceGroup).await?);
    gone.extend(missing::<User>(reader, &users, Target::User).await?);
    Ok(gone)
}

async fn missing<T: Entity>(reader: &mut Reader, ids: &[T::Id], target: fn(T::Id) -> Target) -> Result<Vec<Target>> {
    let found = reader.get_many::<T>(ids).await?;
    let missing = ids.iter().zip(found).filter(|(_, found)| found.is_none());
    Ok(missing.map(|(id, _)| target(*id)).collect())
}
