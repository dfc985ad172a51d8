//! Makes a backup and accounts for it.

use secrecy::SecretString;

use super::{
    BackupId, BackupOutcome, BackupTrigger, StorageBackup,
    rules::{Ended, expired, file_name, is_due},
};
use crate::{
    Fleet,
    access::Context,
    kernel::{EntityId as _, Error, MAX_LIMIT, PageRequest, Result},
    storage::{
        BACKUP_EVERY, BACKUP_FAILED, BACKUP_FINISH, BACKUP_FOLDER, BACKUP_KEEP, BACKUP_UNAVAILABLE,
        archive::{Archived, Header, KeyPart, wrap_key, write_archive},
        ports::{BackupFolder, BackupSink},
    },
    store::{Direction, Evidence, Query, Reader, Versioned},
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
            Ok((archived, key_included)) => BackupOutcome::Done {
                bytes: archived.bytes,
                records: archived.records,
                seq: archived.seq,
                digest: archived.digest.to_string(),
                key_included: *key_included,
            },
            Err(error) => BackupOutcome::Failed {
                problem: error.message().to_owned(),
            },
        },
    };
    let gone = account(fleet, backup).await?;
    // Commit first: a file that stays behind harms nobody, a document without its file would.
    for old in gone {
        if let Err(error) = shelf.remove(&old.folder, &old.file).await {
            tracing::warn!(file = old.file, %error, "an old backup could not be removed");
        }
    }
    written.map(drop)
}

async fn write(
    fleet: &Fleet,
    shelf: &dyn BackupFolder,
    folder: &str,
    file: &str,
    told: &(dyn Fn(u64) + Sync),
) -> Result<(Archived, bool)> {
    let passphrase = shelf
        .passphrase()
        .map_err(|error| BACKUP_FAILED.error(format!("the passphrase for backups cannot be read: {error}")))?;
    let sink = shelf.create(folder, file).await.map_err(|error| failure(&error))?;
    write_to(fleet, passphrase, sink, told).await
}

/// Writes everything into a sink; says whether the master key is in it.
pub(in crate::storage) async fn write_to(
    fleet: &Fleet,
    passphrase: Option<SecretString>,
    mut sink: Box<dyn BackupSink>,
    told: &(dyn Fn(u64) + Sync),
) -> Result<(Archived, bool)> {
    let key = key_part(fleet, passphrase).await?;
    let backend = fleet.store().backend();
    let view = backend.view().await?;
    let header = Header {
        made_at: fleet.clock().now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        backend: backend.info().backend.to_owned(),
        seq: view.seq(),
        key,
    };
    let archived = write_archive(view, &header, &mut *sink, told).await?;
    sink.finish().await.map_err(|error| failure(&error))?;
    Ok((archived, header.key.is_in()))
}

fn failure(error: &std::io::Error) -> Error {
    BACKUP_FAILED.error(format!("the backup could not be written: {error}"))
}

/// The master key under a passphrase, or its name.
async fn key_part(fleet: &Fleet, passphrase: Option<SecretString>) -> Result<KeyPart> {
    let Some(passphrase) = passphrase else {
        let id = fleet.sealer().key_id().to_owned();
        return Ok(KeyPart::LeftOut { id });
    };
    let fleet = fleet.clone();
    let wrapped = tokio::task::spawn_blocking(move || wrap_key(fleet.sealer().current(), &passphrase, fleet.random()));
    let wrapped = wrapped.await.map_err(Error::internal)?;
    let wrapped = wrapped.map_err(|error| BACKUP_FAILED.error(format!("the master key cannot be wrapped: {error}")))?;
    Ok(KeyPart::Wrapped(wrapped))
}

/// Remembers a backup; returns those that go.
async fn account(fleet: &Fleet, backup: &StorageBackup) -> Result<Vec<StorageBackup>> {
    let keep = fleet.settings().get(&BACKUP_KEEP);
    let context = Context::system("storage.backup");
    fleet
        .store()
        .change(&context, Evidence::Audit(BACKUP_FINISH), |mut tx| async move {
            let mut there = newest_first(tx.reader()).await?;
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
