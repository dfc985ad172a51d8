//! Makes a backup and accounts for it.

use std::sync::Arc;

use object_store::ObjectStore;
use secrecy::SecretString;

use super::{
    BackedUpBlobs, BackupId, BackupOutcome, BackupTrigger, StorageBackup,
    rules::{Ended, expired, file_name, is_due},
    upgrade::KEPT,
};
use crate::{
    Fleet,
    access::Context,
    kernel::{Clock, EntityId as _, Error, MAX_LIMIT, PageRequest, Randomness, Result, Sealer},
    storage::{
        BACKUP_BLOBS, BACKUP_EVERY, BACKUP_FAILED, BACKUP_FINISH, BACKUP_FOLDER, BACKUP_KEEP, BACKUP_UNAVAILABLE,
        archive::{Archived, Content, Header, KeyPart, wrap_key, write_archive},
        ports::{BackupFolder, BackupSink},
    },
    store::{Backend, Direction, Evidence, Query, Reader, Versioned},
};

impl Ended for Versioned<StorageBackup> {
    fn is_done(&self) -> bool {
        self.value.is_done()
    }
}

/// Whether a scheduled backup is due.
pub(in crate::storage) async fn due(fleet: &Fleet) -> Result<bool> {
    let every = fleet.settings().get(&BACKUP_EVERY);
    if every == 0 {
        return Ok(false);
    }
    let there = newest_first(&mut fleet.store().reader().await?).await?;
    let there: Vec<_> = there.into_iter().map(|backup| backup.value).collect();
    Ok(is_due(&there, every, fleet.clock().now()))
}

/// Makes a backup, remembers how it went, and lets old ones go.
pub(in crate::storage) async fn make(
    fleet: &Fleet,
    id: BackupId,
    trigger: BackupTrigger,
    told: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let folder = fleet.storage_desk().folder().cloned();
    let shelf = &*folder.ok_or_else(|| BACKUP_UNAVAILABLE.error("this server has no folder for backups"))?;
    let made_at = fleet.clock().now();
    let folder = fleet.settings().get(&BACKUP_FOLDER);
    let file = file_name(made_at, id);
    let written = write(fleet, shelf, &folder, &file, told).await;
    if let Err(error) = &written {
        tracing::error!(file, error = error.log(), "the backup failed");
    }
    let backup = &StorageBackup {
        id,
        made_at,
        took_seconds: fleet.clock().now().since(made_at).as_secs(),
        trigger,
        folder,
        file,
        outcome: match &written {
            Ok(written) => written.outcome(),
            Err(error) => BackupOutcome::Failed {
                problem: error.message().to_owned(),
            },
        },
        blobs: written.as_ref().ok().and_then(Written::blobs),
    };
    let gone = account(fleet, backup).await?;
    remove(shelf, gone).await;
    written.map(drop)
}

async fn write(
    fleet: &Fleet,
    shelf: &dyn BackupFolder,
    folder: &str,
    file: &str,
    told: &(dyn Fn(u64) + Sync),
) -> Result<Written> {
    let passphrase = shelf
        .passphrase()
        .map_err(|error| BACKUP_FAILED.error(format!("the passphrase for backups cannot be read: {error}")))?;
    let sink = shelf.create(folder, file).await.map_err(|error| failure(&error))?;
    let mut writing = Writing::of(fleet);
    if !fleet.settings().get(&BACKUP_BLOBS) {
        writing.blobs = None;
    }
    writing.write_to(passphrase, sink, told).await
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage) struct Written {
    pub(in crate::storage) archived: Archived,
    pub(in crate::storage) key_included: bool,
    blobs_included: bool,
}

impl Written {
    pub(super) fn outcome(&self) -> BackupOutcome {
        BackupOutcome::Done {
            bytes: self.archived.bytes,
            records: self.archived.records,
            seq: self.archived.seq,
            digest: self.archived.digest.to_string(),
            key_included: self.key_included,
        }
    }

    pub(super) fn blobs(&self) -> Option<BackedUpBlobs> {
        self.blobs_included.then_some(BackedUpBlobs {
            count: self.archived.blobs,
            bytes: self.archived.blob_bytes,
            damaged: self.archived.blobs_damaged,
        })
    }
}

/// What a backup is written from.
pub(in crate::storage) struct Writing<'a> {
    pub(in crate::storage) backend: &'a Arc<dyn Backend>,
    pub(in crate::storage) sealer: &'a Sealer,
    pub(in crate::storage) clock: &'a dyn Clock,
    pub(in crate::storage) random: Arc<dyn Randomness>,
    /// Where the blobs are; none when they are left out.
    pub(in crate::storage) blobs: Option<&'a Arc<dyn ObjectStore>>,
}

impl<'a> Writing<'a> {
    pub(in crate::storage) fn of(fleet: &'a Fleet) -> Self {
        Self {
            backend: fleet.store().backend(),
            sealer: fleet.sealer(),
            clock: fleet.clock(),
            random: fleet.shared_random(),
            blobs: fleet.blob_objects(),
        }
    }

    /// Writes everything into a sink.
    ///
    /// **One consistent state.** All of it comes from one view, whatever is written meanwhile. A view may be held for a minute,
    /// and a backup takes as long as it takes: it renews the view with each page that it reads, so one that gets on is never
    /// cut off, and one that hangs (a disk that is gone) ends and lets go. The price is what `pg_dump` and `.backup` cost as
    /// well: SQLite's log grows meanwhile, Postgres keeps old versions, and JSON holds a copy of its state, which shares what
    /// has not changed. The other way, pages of many views made consistent by the notes of what was written between them, would
    /// need a second store to patch before a file in canonical order could be written.
    pub(in crate::storage) async fn write_to(
        &self,
        passphrase: Option<SecretString>,
        mut sink: Box<dyn BackupSink>,
        told: &(dyn Fn(u64) + Sync),
    ) -> Result<Written> {
        let key = self.key_part(passphrase).await?;
        let view = self.backend.view().await?;
        let header = Header {
            made_at: self.clock.now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            backend: self.backend.info().backend.to_owned(),
            seq: view.seq(),
            key,
            blobs: self.blobs.is_some(),
        };
        let blobs = self.blobs;
        let archived = write_archive(Content { view, blobs }, &header, &mut *sink, told).await?;
        sink.finish().await.map_err(|error| failure(&error))?;
        Ok(Written {
            archived,
            key_included: header.key.is_in(),
            blobs_included: header.blobs,
        })
    }

    /// The master key under a passphrase, or its name.
    async fn key_part(&self, passphrase: Option<SecretString>) -> Result<KeyPart> {
        let Some(passphrase) = passphrase else {
            let id = self.sealer.key_id().to_owned();
            return Ok(KeyPart::LeftOut { id });
        };
        let (sealer, random) = (self.sealer.clone(), self.random.clone());
        let wrapped = tokio::task::spawn_blocking(move || wrap_key(sealer.current(), &passphrase, &*random));
        let wrapped = wrapped.await.map_err(Error::internal)?;
        let wrapped =
            wrapped.map_err(|error| BACKUP_FAILED.error(format!("the master key cannot be wrapped: {error}")))?;
        Ok(KeyPart::Wrapped(wrapped))
    }
}

pub(super) fn failure(error: &std::io::Error) -> Error {
    BACKUP_FAILED.error(format!("the backup could not be written: {error}"))
}

/// Removes the files of backups that are remembered no more. Commit first: a file that stays behind harms nobody, a document
/// without its file would.
pub(super) async fn remove(shelf: &dyn BackupFolder, gone: Vec<StorageBackup>) {
    for old in gone {
        if let Err(error) = shelf.remove(&old.folder, &old.file).await {
            tracing::warn!(file = old.file, %error, "an old backup could not be removed");
        }
    }
}

/// Remembers a backup; returns those that go.
pub(super) async fn account(fleet: &Fleet, backup: &StorageBackup) -> Result<Vec<StorageBackup>> {
    let is_upgrade = |backup: &StorageBackup| backup.trigger == BackupTrigger::Upgrade;
    let keep = if is_upgrade(backup) {
        KEPT
    } else {
        fleet.settings().get(&BACKUP_KEEP)
    };
    let context = Context::system("storage.backup");
    fleet
        .store()
        .change(&context, Evidence::Audit(BACKUP_FINISH), |mut tx| async move {
            let mut there = newest_first(tx.reader()).await?;
            // Each sort has its own rule.
            there.retain(|old| is_upgrade(&old.value) == is_upgrade(backup));
            if backup.is_done() {
                // Room for the one that is made now.
                there = expired(there, keep.saturating_sub(1));
            } else {
                there = expired(there, u32::MAX);
            }
            for old in &there {
                tx.delete(old);
            }
            tx.create(backup)?;
            tx.subject::<StorageBackup>(backup.id, backup.file.clone());
            match &backup.outcome {
                BackupOutcome::Done { digest, bytes, .. } => {
                    tx.detail("digest", digest.clone());
                    tx.detail("bytes", *bytes);
                    if let Some(blobs) = backup.blobs {
                        tx.detail("blobs", blobs.count);
                        tx.detail("blobs_damaged", blobs.damaged);
                    }
                }
                BackupOutcome::Failed { problem } => tx.detail("problem", problem.clone()),
            }
            tx.detail("removed", there.len());
            tx.commit().await?;
            Ok(there.into_iter().map(|old| old.value).collect())
        })
        .await
}

async fn newest_first(reader: &mut Reader) -> Result<Vec<Versioned<StorageBackup>>> {
    let query = Query::<StorageBackup>::all().order(StorageBackup::MADE_AT, Direction::Descending);
    Ok(reader
        .list(&query, &PageRequest::new(Some(MAX_LIMIT), None)?)
        .await?
        .items)
}

impl BackupId {
    /// A new id.
    pub(in crate::storage) fn next(fleet: &Fleet) -> Self {
        Self::from_uuid(fleet.store().new_uuid())
    }
}
