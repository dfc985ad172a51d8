//! Groups of devices. Into a static group somebody puts devices and takes them out; the members of a dynamic group are those
//! that its query describes. A group becomes the other by getting a query or losing it.
//!
//! ```text
//!   query/       the language
//!   model        the group; the edition, which tells whether what is remembered of queries still holds
//!   membership   dynamic groups as they are remembered, and the groups of one device
//!   evaluation   the job that goes over all devices after a query changed, and now and then
//!   on_demand    evaluating one group because somebody asks for it
//!   check        trying a query without storing it
//!   service      making, changing, filling and deleting groups
//! ```
//!
//! Who is in which group stands in the summaries of devices, for both kinds alike. Whoever rewrites a summary places it among
//! the dynamic groups in the same commit (`DynamicGroups::begin`). That commit fails, and is decided anew, when a query was
//! changed in between: once the pass over all devices is done that follows a change, every summary is right and stays right.
//!
//! Which groups a device was put into by hand stands in the device too. A group that changes its kind leaves devices that are in it
//! in the other way: they stay in it as they are until that pass, or a change of its members, settles them (`Membership::settle`).
//! Whoever is in a group that lost its query when it lost it was put into it from then on; whoever was put into a group that got one
//! is in it as long as the query wants.

mod check;
mod evaluation;
mod events;
mod membership;
mod model;
mod on_demand;
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
pub use on_demand::GroupEvaluation;
pub use service::{DeviceGroupChange, DeviceGroupService, NewDeviceGroup};
