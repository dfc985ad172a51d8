//! Use cases of the running server, and the loop that does what takes long.

use secrecy::SecretString;

use super::{
    Activity, ActivityKind, BACKUP, BACKUP_FINISH, BACKUP_UNAVAILABLE, BackupId, BackupOutcome, BackupTrigger,
    BackupView, CHECK, CheckResult, STORAGE_MANAGE, STORAGE_READ, StorageBackup, StorageCount, StorageSize,
    StorageView,
    archive::Archived,
    backup,
    desk::{Desk, Work},
    ports::BackupSink,
};
use crate::{
    Fleet,
    access::Context,
    kernel::{EntityId as _, Page, PageRequest, Result},
    store::{Direction, Evidence, Filter, Finding, Query},
};

/// Findings of a check that are shown.
const FINDINGS: usize = 100;
/// Backups among which the newest complete one is looked for.
const RECENT: usize = 50;

/// Looks after the store of a running server.
#[derive(Clone, Copy, Debug)]
pub struct StorageService<'a> {
    pub(super) fleet: &'a Fleet,
}

impl<'a> StorageService<'a> {
    pub(crate) fn new(fleet: &'a Fleet) -> Self {
        Self { fleet }
    }

    pub(super) fn desk(&self) -> &'a Desk {
        self.fleet.storage_desk()
    }

    /// What the store is, what is in it and how it is.
    pub async fn show(&self, context: &Context) -> Result<StorageView> {
        context.require(STORAGE_READ)?.require_all(STORAGE_READ)?;
        let backend = self.fleet.store().backend();
        let info = backend.info();
        let standing = backend.standing().await?;
        let mut view = backend.view().await?;
        let mut counts = Vec::new();
        for kind in self.fleet.schema().kinds() {
            let documents = view.count(kind.name, &Filter::All).await?;
            if documents > 0 {
                counts.push(StorageCount {
                    kind: kind.name.to_owned(),
                    documents,
                });
            }
        }
        let seq = view.seq();
        drop(view);
        let footprint = backend.footprint().await?;
        let sizes = footprint.names.into_iter().filter(|(_, bytes)| *bytes > 0);
        let mut sizes: Vec<_> = sizes
            .map(|(name, bytes)| StorageSize {
                name: name.to_owned(),
                bytes,
            })
            .collect();
        sizes.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.name.cmp(&other.name)));
        let recent = self.recent(&PageRequest::new(Some(RECENT), None)?).await?;
        let is_done = |backup: &BackupView| matches!(backup.outcome, BackupOutcome::Done { .. });
        Ok(StorageView {
            backend: info.backend.to_owned(),
            location: info.location,
            format: info.format,
            durable: info.durable,
            shared: info.shared,
            phase: (&standing.phase).into(),
            origin: standing.origin.map(Into::into),
            seq,
            counts,
            size: footprint.bytes,
            sizes,
            activity: self.desk().now(),
            last_check: self.desk().last_check(),
            last_backup: recent.items.into_iter().find(is_done),
        })
    }

    /// Has the store checked; the result stands in [`StorageView::last_check`].
    pub async fn check(&self, context: &Context) -> Result<Activity> {
        context.require(STORAGE_MANAGE)?.require_all(STORAGE_MANAGE)?;
        let turn = self.desk().take(ActivityKind::Check, self.fleet.clock().now())?;
        self.fleet
            .store()
            .change(context, Evidence::Audit(CHECK), |tx| tx.record())
            .await?;
        turn.hand_over(Work::Check);
        Ok(self.activity(ActivityKind::Check))
    }

    /// Has a backup made, into the folder of the setting `storage.backup_folder`.
    pub async fn back_up(&self, context: &Context) -> Result<Activity> {
        context.require(STORAGE_MANAGE)?.require_all(STORAGE_MANAGE)?;
        if self.desk().folder().is_none() {
            return Err(BACKUP_UNAVAILABLE.error("this server has no folder for backups"));
        }
        let turn = self.desk().take(ActivityKind::Backup, self.fleet.clock().now())?;
        let id = BackupId::next(self.fleet);
        self.fleet
            .store()
            .change(context, Evidence::Audit(BACKUP), |mut tx| async move {
                tx.subject::<StorageBackup>(id, "backup");
                tx.record().await
            })
            .await?;
        turn.hand_over(Work::Backup(id));
        Ok(self.activity(ActivityKind::Backup))
    }

    /// Writes a backup into a sink while nothing else uses the store, and leaves an audit entry. The master key goes in under a
    /// passphrase, or is left out; so are blobs, if that is asked for.
    pub async fn back_up_to(
        &self,
        context: &Context,
        file: &str,
        sink: Box<dyn BackupSink>,
        passphrase: Option<SecretString>,
        with_blobs: bool,
        told: &(dyn Fn(u64) + Sync),
    ) -> Result<Archived> {
        context.require(STORAGE_MANAGE)?.require_all(STORAGE_MANAGE)?;
        let mut writing = backup::Writing::of(self.fleet);
        writing.blobs = writing.blobs.filter(|_| with_blobs);
        let written = writing.write_to(passphrase, sink, told).await?;
        let archived = written.archived;
        let change = self
            .fleet
            .store()
            .change(context, Evidence::Audit(BACKUP_FINISH), |mut tx| async move {
                tx.subject::<StorageBackup>(BackupId::next(self.fleet), file);
                tx.detail("digest", archived.digest.to_string());
                tx.detail("bytes", archived.bytes);
                tx.detail("key_included", written.key_included);
                tx.detail("blobs", archived.blobs);
                tx.record().await
            });
        change.await?;
        Ok(archived)
    }

    /// What a backup that is made now would be called.
    pub fn backup_file_name(&self) -> String {
        backup::file_name(self.fleet.clock().now(), BackupId::next(self.fleet))
    }

    /// A page of the backups that were made, newest first.
    pub async fn backups(&self, context: &Context, page: &PageRequest) -> Result<Page<BackupView>> {
        context.require(STORAGE_READ)?.require_all(STORAGE_READ)?;
        self.recent(page).await
    }

    async fn recent(&self, page: &PageRequest) -> Result<Page<BackupView>> {
        let query = Query::<StorageBackup>::all().order(StorageBackup::MADE_AT, Direction::Descending);
        let backups = self.fleet.store().reader().await?.list(&query, page).await?;
        Ok(backups.map(|backup| backup.value.into()))
    }

    /// Does what waits, if something does; returns whether. [`Fleet::run`] calls it again and again.
    pub async fn work(&self) -> bool {
        match self.desk().next() {
            Some(work) => {
                self.perform(work).await;
                true
            }
            None => false,
        }
    }

    async fn perform(&self, work: Work) {
        let turn = self.desk().resume();
        match work {
            Work::Backup(id) => self.make(id, BackupTrigger::Manual).await,
            Work::Move(id, destination) => self.make_move(id, destination).await,
            Work::Check => {
                let findings = self.fleet.store().backend().check().await;
                let at = self.fleet.clock().now();
                self.desk().checked(match findings {
                    Ok(findings) => CheckResult {
                        at,
                        healthy: Finding::none_open(&findings),
                        total: findings.len() as u64,
                        findings: findings.into_iter().take(FINDINGS).map(Into::into).collect(),
                        problem: None,
                    },
                    Err(error) => {
                        tracing::error!(%error, "the check of the store failed");
                        CheckResult {
                            at,
                            healthy: false,
                            total: 0,
                            findings: Vec::new(),
                            problem: Some("the check failed; the server's log says why".to_owned()),
                        }
                    }
                });
            }
        }
        drop(turn);
    }

    async fn make(&self, id: BackupId, trigger: BackupTrigger) {
        let desk = self.desk();
        if let Err(error) = backup::make(self.fleet, id, trigger, &|records| desk.tell(records)).await {
            tracing::error!(id = %id.uuid(), error = error.log(), "no backup was made");
        }
    }

    /// Makes a backup if one is due and nothing else is under way.
    pub(super) async fn make_if_due(&self) -> Result<()> {
        if self.desk().folder().is_none() || !backup::due(self.fleet).await? {
            return Ok(());
        }
        let now = self.fleet.clock().now();
        if let Ok(turn) = self.desk().take(ActivityKind::Backup, now) {
            self.make(BackupId::next(self.fleet), BackupTrigger::Schedule).await;
            drop(turn);
        }
        Ok(())
    }

    /// What was just begun, also when it is over by now.
    fn activity(&self, kind: ActivityKind) -> Activity {
        self.desk().now().unwrap_or_else(|| Activity {
            kind,
            since: self.fleet.clock().now(),
            records: 0,
        })
    }
}

/// Does what is put on the desk, as long as the fleet runs.
pub(crate) async fn drive(fleet: &Fleet) {
    loop {
        let work = fleet.storage_desk().wait().await;
        fleet.storage().perform(work).await;
    }
}
