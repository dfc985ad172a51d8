//! The device's desired state: the manifest that the server has compiled for it, kept with or without a connection.
//!
//! ```text
//! keeper.rs    one loop: asks for the manifest, takes back, looks at what is due, tells
//! applying.rs  one occurrence as a run of this device's own
//! fetch.rs     the manifest from the server: verified, put together from the difference
//! store.rs     manifest and progress on disk
//! progress.rs  what is remembered of groups and occurrences, and what a new manifest makes of it; pure
//! schedule.rs  when a group is looked at next; pure
//! report.rs    whether the server hears of a run; how the manifest stands; pure
//! requests.rs  what others want of the keeper: a manifest was named, all is to be applied now
//! ```
//!
//! Nothing is decided here about what applies: groups, order and rhythm stand in the manifest.

mod applying;
mod fetch;
mod holding;
mod keeper;
mod progress;
mod report;
mod requests;
mod schedule;
mod store;
#[cfg(test)]
mod tests;

pub use keeper::{Keeper, KeeperParts};
pub use requests::{AppliedAll, Requests};
pub(crate) use store::forget;
