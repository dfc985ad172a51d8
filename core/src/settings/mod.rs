//! Settings: typed keys that modules declare, and where each value comes from.
//!
//! ```text
//!   flag  >  environment  >  file  >  stored  >  default
//!   └──── handed in by the binary ────┘   └ one document per key, changed with an audit row
//! ```
//!
//! [`Settings::get`] reads a snapshot in memory. The snapshot is made anew after each change by this process, and by
//! [`Settings::refresh`] when another server changed something.

mod actions;
mod key;
mod model;
mod module;
mod rules;
mod service;

pub use actions::{RESET, SET, SETTINGS_READ, SETTINGS_WRITE};
pub use key::{Seconds, SettingDefinition, SettingKey, SettingValue};
pub use model::{SettingId, SettingSource, SettingView, StoredSetting};
pub use module::module;
pub use rules::{INVALID, NOT_FOUND, Override, Overrides, handed_in};
pub use service::Settings;

#[cfg(test)]
mod tests;
