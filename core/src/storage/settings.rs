//! Settings of backups.

use crate::settings::SettingKey;

/// The longest name of a folder.
const FOLDER: usize = 1_000;

/// Where backups are kept.
pub const BACKUP_FOLDER: SettingKey<String> = SettingKey::new(
    "storage.backup_folder",
    "The folder for backups of this server, absolute or below its data folder.",
    || "backups".to_owned(),
)
.validated(|folder| {
    let climbs = folder.split('/').any(|part| part == "..");
    if folder.is_empty() || folder.len() > FOLDER || folder.contains('\0') || climbs {
        Err("a path of at most 1,000 bytes without ..".to_owned())
    } else {
        Ok(())
    }
});

/// How often one is made.
pub const BACKUP_EVERY: SettingKey<u32> = SettingKey::new(
    "storage.backup_every_hours",
    "How often a backup of this server is made, in hours: 1 to 8,760; 0 makes none by itself.",
    || 24,
)
.validated(|hours| {
    if *hours <= 8_760 {
        Ok(())
    } else {
        Err("0 to 8,760 hours".to_owned())
    }
});

/// How many are kept.
pub const BACKUP_KEEP: SettingKey<u32> = SettingKey::new(
    "storage.backup_keep",
    "How many backups of this server are kept, the newest: 1 to 400.",
    || 7,
)
.validated(|keep| {
    if (1..=400).contains(keep) {
        Ok(())
    } else {
        Err("1 to 400".to_owned())
    }
});

/// Whether blobs are in backups.
pub const BACKUP_BLOBS: SettingKey<bool> = SettingKey::new(
    "storage.backup_blobs",
    "Whether backups of this server hold the blobs that the store refers to, such as programs of agents. Without them, their place \
     needs a backup of its own.",
    || true,
);
