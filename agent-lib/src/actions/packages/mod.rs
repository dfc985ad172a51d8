//! Packages, by the device's own package manager.
//!
//! ```text
//! manager.rs   which manager, and what its programs are told (pure)
//! answers.rs   what they answer (pure)
//! package.rs   the action `package`;  upgrade.rs `packages.upgrade`
//!               work.rs what its neighbours do, too: refreshing, repairing
//! ```

mod answers;
mod manager;
mod package;
mod upgrade;
mod work;

pub(super) use package::Package;
pub(super) use upgrade::Upgrade;
