//! Retention: what grows for ever is cut back.
//!
//! ```text
//!   modules declare LaneRetention { lane, days }     rows of a lane are kept so many days; 0 keeps them for ever
//!   service   trim(): a tick for all lanes           forget(): feed entries and batch ids, after a week
//!   rules     until when                             which place in commit order is a week old
//! ```
//!
//! The audit lane is chained and never trimmed. Feed entries have no time of their own: hourly marks of where commit order stood
//! tell how old a place is.

mod model;
mod module;
mod rules;
mod service;
#[cfg(test)]
mod tests;

pub use model::{FeedMark, FeedMarks, FeedMarksId, LaneRetention};
pub use module::module;
pub use rules::days_setting;
pub(crate) use rules::{before, check_days};
