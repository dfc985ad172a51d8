//! Groups of devices. Into a static group somebody puts devices and takes them out; the members of a dynamic group are those
//! that its query describes. A group is the one or the other for life.
//!
//! ```text
//!   query/       the language
//!   model        the group; the edition, which tells whether what is remembered of queries still holds
//!   membership   dynamic groups as they are remembered, and the groups of one device
//!   evaluation   the job that goes over all devices after a query changed, and now and then
//!   check        trying a query without storing it
//!   service      making, changing, filling and deleting groups
//! ```
//!
//! Who is in which group stands in the summaries of devices, for both kinds alike. Whoever rewrites a summary places it among
//! the dynamic groups in the same commit (`DynamicGroups::begin`). That commit fails, and is decided anew, when a query was
//! changed in between: once the pass over all devices is done that follows a change, every summary is right and stays right.

mod check;
mod evaluation;
mod events;
mod membership;
mod model;
pub mod query;
mod service;
#[cfg(test)]
mod tests;

pub use check::{CheckedQuery, QueryCheck, QueryExample, QueryProblem};
pub use evaluation::Evaluated;
pub(crate) use evaluation::LOOK_EVERY;
pub use events::*;
pub(crate) use membership::{DynamicGroups, Membership};
pub use model::{
    DeviceGroup, DeviceGroupId, DeviceGroupView, GroupEdition, GroupEditionId, GroupPass, MAX_DYNAMIC_GROUPS,
    RunningPass,
};
pub(crate) use model::{group_not_found, query_refused, require_static};
pub use service::{DeviceGroupChange, DeviceGroupService, NewDeviceGroup};
