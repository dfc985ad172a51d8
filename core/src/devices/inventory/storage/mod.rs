//! How inventories are kept and asked.
//!
//! ```text
//!   receive     a report comes in: checked, compared by hash, stored with its summary in one commit
//!   sets        its packages first: the members that no other device had
//!   service     sections of one device       packages        the packages of one device
//!   clean       what no device has any more  fleet_packages  packages over all, devices by package
//! ```
//!
//! A device's packages are not stored with the device: they are numbers in a set that all devices with the same packages
//! share, and each number is one package in one version. So "who has this package below that version" is answered by three
//! indexes, and a report that changes nothing costs nothing.

mod clean;
mod events;
mod fleet_packages;
mod ids;
mod model;
mod packages;
mod receive;
mod rules;
mod service;
mod sets;
#[cfg(test)]
mod tests;
mod view;

pub use clean::{CLEAN_EVERY, Cleaned};
pub use events::*;
pub use fleet_packages::PackageQuestion;
pub use ids::{InventorySectionId, PackageMemberId, PackageSetId};
pub use model::{InventorySection, PackageFacts, StoredMember, StoredSet};
pub use packages::PackageFilter;
pub use receive::Received;
pub use service::InventoryService;
pub use view::{FleetPackageVersion, FleetPackageView, InventorySectionView, PackageView};
