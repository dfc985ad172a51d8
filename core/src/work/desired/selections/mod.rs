//! Selections: what was chosen on a device of what is available there.

mod model;
mod service;

pub use model::{AvailableView, DeviceSelections, SelectionChange};
pub use service::SelectionService;
