//! Presence: what devices say with each heartbeat, who is online, and which connection of a device counts.
//!
//! A beat is one latest value and no commit. What changes seldom is committed: the edges between online and offline (with a
//! row on the device's timeline), and when a device was seen, some minutes apart. [`PresenceBoard`] is the memory of it; the
//! sweep, a job, is what makes it right in the end, whatever was missed.

mod board;
mod connections;
mod edges;
mod events;
mod model;
mod rules;
mod service;
#[cfg(test)]
mod tests;

pub use board::PresenceBoard;
pub use events::LINK_SUPERSEDED;
pub use model::{DeviceBeat, DeviceLink, DeviceState, DeviceStateView};
pub use rules::{BEAT_INTERVAL, NOTE_EVERY, OFFLINE_AFTER, SWEEP_EVERY};
pub use service::{PresenceService, Swept};
