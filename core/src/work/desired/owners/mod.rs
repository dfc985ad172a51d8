//! The users that devices belong to: what is assigned to a user reaches their devices.

mod model;
mod service;

pub use model::{DeviceOwners, DeviceOwnersView, MAX_OWNERS, OwnersChange};
pub use service::OwnerService;
