//! What can be done with actions, with action sets and with definitions alike: list, show, make, change, delete.

mod model;
mod service;

pub(super) use model::put;
pub use model::{Authored, Codes, check_description};
pub use service::{AuthoredFilter, AuthoredService};
pub(super) use service::{all_pages, drop_assignments};
