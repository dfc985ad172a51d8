//! Escrow: secrets that devices made for themselves (passwords of local users, passphrases of disks), kept so that people who may can
//! read them.
//!
//! ```text
//!   a device   deposits a secret        ──▶  offered      kept here, and not known to be in use
//!   a device   changes itself, and says ──▶  current      of its subject; the one before is superseded
//!              or that it did not       ──▶  abandoned
//! ```
//!
//! A device deposits before it changes anything, and changes nothing that is not acknowledged. What it never said more of stays
//! *offered*: it may be in use, and is shown beside the one that is current. Any doubt keeps both.
//!
//! ```text
//! model.rs      what is stored and shown
//! rules.rs      which state follows, and what is removed (pure)
//! allowance.rs  how often a device may deposit and ask (pure)
//! service.rs    what people do;  agent.rs what devices do
//! clean.rs      what becomes of the secrets of devices that are gone
//! disk_keys/    keys of devices' own, by which their disks open as well
//! ```

mod actions;
mod agent;
mod allowance;
mod clean;
mod disk_keys;
mod model;
mod module;
mod rules;
mod service;
#[cfg(test)]
mod tests;

pub use actions::{
    ESCROW_ABANDON, ESCROW_CLEAN, ESCROW_CONFIRM, ESCROW_CONTRADICTED, ESCROW_DEPOSIT, ESCROW_FULL, ESCROW_NOT_FOUND,
    ESCROW_READ, ESCROW_READ_BY_DEVICE, ESCROW_REVEAL, ESCROW_REVEALED, ESCROW_TOO_OFTEN, ESCROW_UNREADABLE,
};
pub(crate) use agent::Depositor;
pub(crate) use allowance::Allowance;
pub use clean::GONE_LIFE;
pub use disk_keys::{
    DISK_KEY_TOLD, DISK_KEYS_FULL, DISK_PASSPHRASES_OWN, DISK_PASSPHRASES_WRITE, DeviceDiskKeys, DeviceDiskKeysView,
    DiskKey, DiskKeyService, DiskKeyView, DiskPassphraseToken, DiskPassphraseTokenView, MAX_DISKS, MAX_WAITING,
    NewDiskPassphraseToken, PASSPHRASE_TOKEN_CREATE, PASSPHRASE_TOKEN_EXPIRED, PASSPHRASE_TOKEN_UNKNOWN,
    PASSPHRASE_TOKEN_USE, PASSPHRASE_TOKEN_USED, PASSPHRASE_TOKENS_WAITING, TokenUse,
};
pub use model::{
    EscrowFilter, EscrowKind, EscrowReason, EscrowState, EscrowedSecret, EscrowedSecretId, EscrowedSecretView,
    RevealedSecret,
};
pub use module::module;
pub use rules::{Conclusion, MAX_SECRET, MAX_SUBJECT, MAX_SUBJECTS};
pub use service::EscrowService;
