//! Permissions, audit actions and error codes of devices' own keys.

use crate::{
    access::{Action, Permission},
    kernel::{Class, Code},
};

/// Have whoever is at a device choose a passphrase of its disk.
pub const DISK_PASSPHRASES_WRITE: Permission = Permission::new("disk-passphrases:write");
/// The same on devices of one's own.
pub const DISK_PASSPHRASES_OWN: Permission = Permission::new("disk-passphrases:own");

/// Somebody made a token by which a passphrase is chosen.
pub const PASSPHRASE_TOKEN_CREATE: Action = Action::new("disk_passphrase_token.create");
/// A device said that a passphrase was chosen by a token.
pub const PASSPHRASE_TOKEN_USE: Action = Action::new("disk_passphrase_token.use");
/// A device said which key of its own a disk has.
pub const DISK_KEY_TOLD: Action = Action::new("disk_key.told");

/// The device has no such token.
pub const PASSPHRASE_TOKEN_UNKNOWN: Code = Code::new("disk_passphrase_token.unknown", Class::NotFound);
/// The token's time is over.
pub const PASSPHRASE_TOKEN_EXPIRED: Code = Code::new("disk_passphrase_token.expired", Class::Conflict);
/// The token was used.
pub const PASSPHRASE_TOKEN_USED: Code = Code::new("disk_passphrase_token.used", Class::Conflict);
/// As many tokens of the device wait as may; the error says when the first one's time is over.
pub const PASSPHRASE_TOKENS_WAITING: Code = Code::new("disk_passphrase_token.too_many", Class::Conflict);
/// The device has told of as many disks as it may.
pub const DISK_KEYS_FULL: Code = Code::new("disk_key.too_many_disks", Class::Conflict);
