//! Actions: what keeps a device in a state. Look, act, look again.
//!
//! ```text
//! action.rs      what an action is, and why one fails
//! driver.rs      carries one out: dry runs, honest bookkeeping, the second look
//! device/        all that touches the device: files below a root, programs, accounts
//! <kind>.rs      the actions;  packages/ the package managers;  disk_encryption/ volumes and their passphrases
//! ```
//!
//! All of it works below a root folder, `/` on a device: tests run it against a scratch root and the real tools. What each kind does
//! stands in `docs/actions.md`.

mod action;
mod admin;
mod app_image;
mod device;
mod directory;
mod disk_encryption;
mod driver;
mod file;
mod flatpak;
mod group;
mod homes;
mod members;
mod packages;
mod passwords;
mod reboot;
mod service;
mod shell;
mod shutdown;
mod sshd;
#[cfg(test)]
mod tests;
mod user;
mod wifi;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use fleet_core::{
    kernel::{Class, Clock, Code, PublicKey, Randomness, Result},
    protocol::OfferBody,
    work::operations::actions as kinds,
};

pub use self::{
    device::Witness,
    disk_encryption::{
        Beginning, Choice, Choosable, PASSPHRASE_NOT_WANTED, PASSPHRASE_REFUSED, PASSPHRASE_UNTOLD, TOKEN_REFUSED,
    },
};
use self::{
    device::{Device, Effects},
    driver::carry_out,
};
use crate::{
    contents::Contents,
    escrow::Escrow,
    executor::Executor,
    policy::Policy,
    runs::{Cancellation, Ending, OutputSink},
};

/// What was done did not bring about what was wanted.
pub const NOT_REACHED: Code = Code::new("action.not_reached", Class::Internal);
/// The path, or what it leads to, is protected.
pub const PATH_PROTECTED: Code = Code::new("action.path_protected", Class::Denied);
/// A file or folder could not be read or written.
pub const FILES_FAILED: Code = Code::new("action.files_failed", Class::Unavailable);
/// The file system is read-only, and could not be remounted.
pub const FILE_SYSTEM_READ_ONLY: Code = Code::new("action.file_system_read_only", Class::Unavailable);
/// A program that it needs ended with a failure.
pub const PROGRAM_FAILED: Code = Code::new("action.program_failed", Class::Unavailable);
/// This device has no such user or group.
pub const ACCOUNT_UNKNOWN: Code = Code::new("action.account_unknown", Class::NotFound);

/// The server could not be reached to keep a secret: nothing was changed.
pub const ESCROW_UNREACHABLE: Code = Code::new("escrow.unreachable", Class::Unavailable);
/// The server does not keep a secret, or its answer cannot be trusted: nothing was changed.
pub const ESCROW_NOT_KEPT: Code = Code::new("escrow.not_kept", Class::Unavailable);

/// The kinds of action that this agent carries out.
pub const KINDS: [&str; 19] = [
    kinds::file::NAME,
    kinds::directory::NAME,
    kinds::service::NAME,
    kinds::package::NAME,
    kinds::package_repository::NAME,
    kinds::package_file::NAME,
    kinds::app_image::NAME,
    kinds::flatpak::NAME,
    kinds::user::NAME,
    kinds::group::NAME,
    kinds::packages_upgrade::NAME,
    kinds::sshd_settings::NAME,
    kinds::ssh_access::NAME,
    kinds::admin_policy::NAME,
    kinds::wifi::NAME,
    kinds::disk_encryption::NAME,
    kinds::password_rotation::NAME,
    kinds::reboot::NAME,
    kinds::shutdown::NAME,
];

/// Removes what actions remember: this device has left its server, and stays as it is.
pub(crate) fn forget(state: &Path) -> Result<()> {
    device::forget(state)
}

/// Carries out actions on a device.
#[derive(Clone, Debug)]
pub struct Actions {
    executor: Executor,
    root: PathBuf,
    own: Arc<[String]>,
    policy: Arc<Policy>,
    escrow: Arc<dyn Escrow>,
    contents: Arc<dyn Contents>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Randomness>,
    state: PathBuf,
    device_key: PublicKey,
    effects: Effects,
}

/// What actions are carried out with.
#[derive(Debug)]
pub struct ActionsParts {
    /// What runs programs.
    pub executor: Executor,
    /// Folders that are the agent's own, and not touched.
    pub own: Vec<String>,
    /// Who actions may do something as, beside the agent's own user.
    pub policy: Arc<Policy>,
    /// What keeps the secrets that actions make.
    pub escrow: Arc<dyn Escrow>,
    /// Where contents come from that parameters name.
    pub contents: Arc<dyn Contents>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where secrets come from.
    pub random: Arc<dyn Randomness>,
    /// The agent's state folder, where actions remember things.
    pub state: PathBuf,
    /// The key that the device is enrolled with: with another one, actions remember nothing.
    pub device_key: PublicKey,
}

impl Actions {
    /// Actions on this very device.
    pub fn new(parts: ActionsParts) -> Self {
        Self::below("/", parts)
    }

    /// Actions on a system whose files are below `root`, an absolute path. There programs are those below it; they are told of the root,
    /// and nothing is started or stopped.
    pub fn below(root: impl Into<PathBuf>, parts: ActionsParts) -> Self {
        let root = root.into();
        // Also where they lead: the folder of the state may be a link.
        let lead = |own: String| [device::leads_to(&root, &own), Some(own)];
        let own = parts.own.into_iter().flat_map(lead).flatten().collect();
        Self {
            executor: parts.executor,
            root,
            own,
            policy: parts.policy,
            escrow: parts.escrow,
            contents: parts.contents,
            clock: parts.clock,
            random: parts.random,
            state: parts.state,
            device_key: parts.device_key,
            effects: Effects::default(),
        }
    }

    /// The same, before the eyes of a witness.
    #[must_use]
    pub fn seen_by(self, witness: Arc<dyn Witness>) -> Self {
        Self {
            effects: Effects::seen_by(witness),
            ..self
        }
    }

    /// Carries out an offer of one of [`KINDS`]; nothing when it is of none of them.
    pub async fn execute(&self, offer: &OfferBody, output: &OutputSink, cancellation: &Cancellation) -> Option<Ending> {
        let device = Device::new(self, offer, output.clone(), cancellation.clone());
        Some(match offer.kind.as_str() {
            kinds::file::NAME => carry_out::<file::File>(&offer.params, &device).await,
            kinds::directory::NAME => carry_out::<directory::Directory>(&offer.params, &device).await,
            kinds::service::NAME => carry_out::<service::Service>(&offer.params, &device).await,
            kinds::package::NAME => carry_out::<packages::Package>(&offer.params, &device).await,
            kinds::package_repository::NAME => carry_out::<packages::Repository>(&offer.params, &device).await,
            kinds::package_file::NAME => carry_out::<packages::FromFile>(&offer.params, &device).await,
            kinds::app_image::NAME => carry_out::<app_image::AppImage>(&offer.params, &device).await,
            kinds::flatpak::NAME => carry_out::<flatpak::Flatpak>(&offer.params, &device).await,
            kinds::user::NAME => carry_out::<user::User>(&offer.params, &device).await,
            kinds::group::NAME => carry_out::<group::Group>(&offer.params, &device).await,
            kinds::packages_upgrade::NAME => carry_out::<packages::Upgrade>(&offer.params, &device).await,
            kinds::sshd_settings::NAME => carry_out::<sshd::Settings>(&offer.params, &device).await,
            kinds::ssh_access::NAME => carry_out::<sshd::Access>(&offer.params, &device).await,
            kinds::admin_policy::NAME => carry_out::<admin::Policy>(&offer.params, &device).await,
            kinds::wifi::NAME => carry_out::<wifi::Wifi>(&offer.params, &device).await,
            kinds::disk_encryption::NAME => carry_out::<disk_encryption::DiskEncryption>(&offer.params, &device).await,
            kinds::password_rotation::NAME => carry_out::<passwords::Rotation>(&offer.params, &device).await,
            kinds::reboot::NAME => carry_out::<reboot::Reboot>(&offer.params, &device).await,
            kinds::shutdown::NAME => carry_out::<shutdown::Shutdown>(&offer.params, &device).await,
            _ => return None,
        })
    }

    /// Runs an offer of `shell`.
    pub async fn run_script(&self, offer: &OfferBody, output: &OutputSink, cancellation: &Cancellation) -> Ending {
        let device = Device::new(self, offer, output.clone(), cancellation.clone());
        shell::run(&self.executor, offer, output, cancellation, &device).await
    }

    /// Whether a run of this kind that was interrupted, and may not be executed again, is taken up to find out what became of it.
    pub fn takes_up(kind: &str) -> bool {
        kind == kinds::reboot::NAME
    }

    /// Finds out what became of a run of such a kind.
    pub async fn take_up(&self, offer: &OfferBody, output: &OutputSink, cancellation: &Cancellation) -> Ending {
        let device = Device::new(self, offer, output.clone(), cancellation.clone());
        reboot::take_up(&offer.params, &device).await
    }
}
