//! A device and its summary.
//!
//! [`Device`] is what is decided about a device and how it proves itself; [`DeviceSummary`] is what lists show, filter and
//! sort by. A change of the one rewrites the other in the same commit; what only the summary shows (presence, updates) comes
//! from presence and inventory.

mod approval;
mod bulk;
mod counts;
mod events;
mod model;
mod query;
mod rules;
mod service;
mod summary;
#[cfg(test)]
mod tests;
mod view;

pub use approval::{Approval, ApproveAs};
pub(crate) use bulk::{Bulk, change_many, write, write_settled};
pub use bulk::{BulkFailure, BulkOutcome, MAX_BULK};
pub use counts::{FleetCounts, OsCount};
pub use events::*;
pub use model::{Device, Pending, Presence};
pub use query::{DeviceFilter, DeviceOrder, DeviceSort};
pub(crate) use rules::check_description;
pub use rules::{MAX_LABELS, MAX_NAME_BYTES, check_label, check_labels, check_name};
pub(crate) use rules::{check_disabled, check_not_kept_out, pending_error};
pub use service::{DeviceChange, DeviceService, LabelChange};
pub(crate) use service::{farewell, of_agent, of_agent_in};
pub use summary::DeviceSummary;
pub(crate) use summary::fold;
pub use view::{DeviceSummaryView, DeviceView};
