//! A backup before a store is prepared for a newer schema.
//!
//! An upgrade of the program may find that it needs kinds, lanes or columns that the store lacks. Before anything of the kind is
//! made, the store is read as it is, by the schema that it has ([`Schema::before`]), into an ordinary backup, named so. What
//! preparing that schema may drop (columns and indexes that nobody declares any more) is computed from bodies, which the backup
//! holds; so the way back from an upgrade is to restore it with the version that wrote the store.
//!
//! The newest [`KEPT`] of these stay, whatever the rule for others is.

use std::sync::Arc;

use object_store::ObjectStore;

use super::{
    BackupId, BackupTrigger, StorageBackup,
    make::{Writing, account, failure},
    rules::upgrade_file_name,
};
use crate::{
    Fleet,
    access::server_keys::ServerKeys,
    kernel::{Clock, EntityId as _, Randomness, Result, Sealer},
    settings::{Overrides, SettingDefinition, Settings, StoredSetting},
    storage::{BACKUP_BLOBS, BACKUP_FAILED, BACKUP_FOLDER, ports::BackupFolder},
    store::{Backend, Entity as _, Schema, SchemaReport, Store},
};

/// Backups before upgrades that are kept.
pub(super) const KEPT: u32 = 3;

/// What a backup before an upgrade is made of.
pub(crate) struct Upgrade<'a> {
    pub(crate) backend: &'a Arc<dyn Backend>,
    /// That of this program.
    pub(crate) schema: &'a Schema,
    pub(crate) sealer: &'a Sealer,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) random: &'a Arc<dyn Randomness>,
    pub(crate) settings: Vec<SettingDefinition>,
    pub(crate) overrides: &'a Overrides,
    /// Where blobs are.
    pub(crate) blobs: Option<&'a Arc<dyn ObjectStore>>,
    /// None when whoever starts it said aloud that no backup is wanted.
    pub(crate) folder: Option<&'a Arc<dyn BackupFolder>>,
}

impl Upgrade<'_> {
    /// Makes a backup if the store would be changed and holds anything. It is noted in the store once that has its new schema.
    pub(crate) async fn back_up(self) -> Result<Option<StorageBackup>> {
        let pending = self.backend.pending(self.schema).await?;
        let before = self.schema.before(&pending);
        if pending == SchemaReport::default() || before.is_empty() {
            return Ok(None);
        }
        let changes = changes(&pending);
        let Some(shelf) = self.folder else {
            tracing::warn!(
                changes,
                "the store is changed for this version, and no backup is made, as asked"
            );
            return Ok(None);
        };
        let (clock, random) = (self.clock.clone(), self.random.clone());
        let (store, _) = Store::open(self.backend.clone(), &before, clock, random).await?;
        let mut view = self.backend.view().await?;
        if view.seq() == 0 && view.records(None, 1).await?.is_empty() {
            return Ok(None);
        }
        drop(view);
        // A wrong key is refused before anything is written.
        ServerKeys::check(&store, self.sealer).await?;
        let (folder, with_blobs) = match before.kind(StoredSetting::KIND) {
            Ok(_) => {
                let settings = Settings::open(store.clone(), self.settings, self.overrides).await?;
                (settings.get(&BACKUP_FOLDER), settings.get(&BACKUP_BLOBS))
            }
            Err(_) => (BACKUP_FOLDER.default_value(), BACKUP_BLOBS.default_value()),
        };
        let (made_at, id) = (self.clock.now(), BackupId::from_uuid(store.new_uuid()));
        let file = upgrade_file_name(made_at, id);
        tracing::info!(
            file,
            changes,
            "the store is changed for this version; a backup is made first"
        );
        let writing = Writing {
            backend: self.backend,
            sealer: self.sealer,
            clock: &**self.clock,
            random: self.random.clone(),
            blobs: self.blobs.filter(|_| with_blobs),
        };
        let written = async {
            let passphrase = shelf
                .passphrase()
                .map_err(|error| BACKUP_FAILED.error(format!("the passphrase for backups cannot be read: {error}")))?;
            let sink = shelf.create(&folder, &file).await.map_err(|error| failure(&error))?;
            writing.write_to(passphrase, sink, &|_| {}).await
        };
        let written = written.await.map_err(|error| {
            let text = format!(
                "the store would be changed for this version ({changes}), and the backup before that failed: {}. Make room for \
                 it, or say --no-backup-before-upgrade; nothing was changed",
                error.message()
            );
            BACKUP_FAILED.error(text).caused_by(error)
        })?;
        Ok(Some(StorageBackup {
            id,
            made_at,
            took_seconds: self.clock.now().since(made_at).as_secs(),
            trigger: BackupTrigger::Upgrade,
            folder,
            file,
            outcome: written.outcome(),
            blobs: written.blobs(),
        }))
    }
}

/// Notes a backup that was made before the store had its schema, and lets old ones go.
pub(crate) async fn note(fleet: &Fleet, backup: &StorageBackup) -> Result<()> {
    let gone = account(fleet, backup).await?;
    if let Some(shelf) = fleet.storage_desk().folder() {
        super::make::remove(&**shelf, gone).await;
    }
    Ok(())
}

/// The first few changes, for people.
fn changes(pending: &SchemaReport) -> String {
    const SHOWN: usize = 5;
    let all: Vec<&str> = pending
        .created
        .iter()
        .chain(&pending.filled)
        .map(String::as_str)
        .collect();
    let more = match all.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("new: {}{more}", all[..all.len().min(SHOWN)].join(", "))
}
