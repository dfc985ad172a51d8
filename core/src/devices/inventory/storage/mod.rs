//! How inventories are kept and asked.

mod ids;

pub use ids::PackageSetId;
