//! Keys of a device's own, by which its disks open beside the passphrase that is in escrow: that of its TPM, or a passphrase that one of
//! its owners has chosen.
//!
//! ```text
//!   an owner    makes a token            ──▶  it is shown once, and can be used for some minutes
//!   the device  shows it, and asks its owner for a passphrase, which stays on the device
//!   the device  says that it is set      ──▶  the token is used;  the disk opens by a passphrase since then
//! ```
//!
//! ```text
//! model.rs    what is stored and shown
//! rules.rs    which tokens wait, and whether one can be used (pure)
//! service.rs  what people do;  agent.rs what devices do
//! events.rs   permissions, audit actions, error codes
//! ```

mod agent;
mod events;
mod model;
mod rules;
mod service;
#[cfg(test)]
mod tests;

pub use events::{
    DISK_KEY_TOLD, DISK_KEYS_FULL, DISK_PASSPHRASES_OWN, DISK_PASSPHRASES_WRITE, PASSPHRASE_TOKEN_CREATE,
    PASSPHRASE_TOKEN_EXPIRED, PASSPHRASE_TOKEN_UNKNOWN, PASSPHRASE_TOKEN_USE, PASSPHRASE_TOKEN_USED,
    PASSPHRASE_TOKENS_WAITING,
};
pub use model::{
    DeviceDiskKeys, DeviceDiskKeysView, DiskKey, DiskKeyView, DiskPassphraseToken, DiskPassphraseTokenView,
    NewDiskPassphraseToken, TokenUse,
};
pub use rules::{MAX_DISKS, MAX_WAITING};
pub use service::DiskKeyService;
