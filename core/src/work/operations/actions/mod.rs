//! Kinds of operation that describe a state of the device: check, act, verify.
//!
//! ```text
//! common.rs      what all of them share: the wanted state, dry runs, how parameters are checked
//! armor.rs       public keys as text (pure)
//! passphrase.rs  what passphrases have to be that people choose (pure)
//! paths.rs       which paths no action touches;  names.rs which names of accounts, packages and the like there are (pure)
//! <kind>.rs      the parameters of a kind, and the kind
//! ```
//!
//! The same parameters serve a run by hand and the manifest that keeps a device as it should be. What is done with them on the device
//! stands in `docs/actions.md`.

pub mod admin_policy;
pub mod app_image;
pub mod armor;
mod common;
pub mod directory;
pub mod disk_encryption;
pub mod file;
pub mod flatpak;
pub mod group;
mod names;
pub mod package;
pub mod package_file;
pub mod package_repository;
pub mod packages_upgrade;
pub mod passphrase;
pub mod password_rotation;
pub mod paths;
pub mod reboot;
pub mod service;
pub mod shutdown;
pub mod ssh_access;
pub mod sshd_settings;
pub mod user;
pub mod wifi;

pub(super) use common::is_false;
pub use common::{ActionParams, Presence};

use super::OperationKind;
use crate::access::{PermissionEntry, Role};

/// All of them, each with what the permission to run it allows.
pub(crate) const ALL: &[(OperationKind, &str)] = &[
    (file::KIND, "write, alter and remove files on devices"),
    (directory::KIND, "make, alter and remove folders on devices"),
    (service::KIND, "alter, start and stop services of devices"),
    (package::KIND, "install and remove packages on devices"),
    (
        package_repository::KIND,
        "decide which package repositories devices install from",
    ),
    (
        package_file::KIND,
        "install packages on devices from files, and remove them",
    ),
    (app_image::KIND, "put AppImages on devices, and remove them"),
    (flatpak::KIND, "install and remove Flatpaks on devices"),
    (user::KIND, "make, alter and remove local users of devices"),
    (group::KIND, "make, alter and remove local groups of devices"),
    (packages_upgrade::KIND, "upgrade the packages of devices"),
    (sshd_settings::KIND, "alter the settings of devices' SSH servers"),
    (ssh_access::KIND, "decide who comes in to devices by SSH"),
    (admin_policy::KIND, "decide who does what as root on devices"),
    (password_rotation::KIND, "have devices change passwords of local users"),
    (wifi::KIND, "decide which wireless networks devices join"),
    (
        disk_encryption::KIND,
        "keep the passphrases of devices' encrypted volumes",
    ),
    (reboot::KIND, "have devices start anew"),
    (shutdown::KIND, "switch devices off"),
];

/// Their permissions: whoever gives devices work by hand has them.
pub(crate) fn permissions() -> impl Iterator<Item = PermissionEntry> {
    ALL.iter().map(|(kind, allows)| PermissionEntry {
        permission: kind.permission,
        allows,
        least: Role::Operator,
    })
}
