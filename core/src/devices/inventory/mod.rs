//! Inventory: what a device is made of, in sections that are reported one by one.
//!
//! - [`Section`], [`SectionBody`], [`SectionReport`]: the sections, their typed bodies, and how one travels. A report names
//!   the hash of its body, so that an unchanged section sends only the hash.
//! - one file per section's shape: `system` (os, cpu, memory), `mounts`, `interfaces`, `packages`, `services`, `ports`,
//!   `users`.
//! - [`PackageSet`], [`PackageMember`]: the installed packages of a device as a content-addressed set, shared by all devices
//!   that have the same.
//! - [`version_key`]: a text for a version whose byte order is the package manager's order.
//!
//! Sizes are in bytes. Every list is bounded; what was left out is counted beside it. All texts come from foreign devices:
//! [`clean_text`] bounds them and takes out what cannot be stored.

mod hash;
mod interfaces;
mod mounts;
mod package_set;
mod packages;
mod ports;
mod section;
mod services;
mod storage;
mod system;
mod text;
mod users;
mod version;

pub use hash::{ContentHash, ContentHashParseError};
pub use interfaces::{Interface, InterfaceAddress, Interfaces};
pub use mounts::{Mount, Mounts};
pub use package_set::{MAX_SET_MEMBERS, PackageMember, PackageSet};
pub use packages::{InstalledPackage, Packages};
pub use ports::{ListeningPort, PortScope, Ports};
pub use section::{BodyError, Section, SectionBody, SectionReport};
pub use services::{Service, Services};
pub use storage::*;
pub use system::{Cpu, Memory, Os, Reboot};
pub use text::{MAX_TEXT_BYTES, clean_text, cleaned};
pub use users::{LocalUser, LockState, Users};
pub use version::{DPKG, MAX_VERSION_KEY_BYTES, version_key};
