//! Packages, by the device's own package manager.
//!
//! ```text
//! manager.rs   which manager, and what its programs are told (pure)
//! answers.rs   what they answer (pure)
//! package.rs   the action `package`;  upgrade.rs `packages.upgrade`;  from_file.rs `package.file`
//! repository.rs `package.repository`, with the files of managers in sources.rs (pure)
//!               work.rs what its neighbours do, too: refreshing, repairing;  versions.rs which is later (pure)
//! ```

mod answers;
mod from_file;
mod manager;
mod package;
mod repository;
mod sources;
mod upgrade;
mod versions;
mod work;

pub(super) use from_file::FromFile;
pub(super) use package::Package;
pub(super) use repository::Repository;
pub(super) use upgrade::Upgrade;
