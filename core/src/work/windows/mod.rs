//! Windows: when devices may be changed, and when they must not be.
//!
//! A *maintenance* window says when work may begin on the devices of its scope, a *blackout* when it must not. What follows from all of
//! them for one device, one kind of operation and one moment is one pure function, [`WindowSet::decide`]:
//!
//! - Blackouts win over maintenance. Maintenance windows that overlap add up: one that is open is enough.
//! - A device that no maintenance window concerns is open.
//! - A window that names no operations concerns those that change the device (lane *exclusive*).
//! - A window lasts as long as it says in elapsed time, whatever clocks do meanwhile; its end is not in it.
//!
//! What happens to work that meets a closed window is the window's [`Outside`]; where several hold it, the strictest counts. Whether
//! somebody may begin all the same is for the caller to decide; the decision says why it would have waited.
//!
//! Devices that keep a state by themselves hold the windows that concern them ([`HeldWindow`]) and decide by the same function.

mod calendar;
mod events;
mod held;
mod ical;
mod model;
mod request;
mod rules;
mod service;
#[cfg(test)]
mod tests;

pub use calendar::{MAX_OCCURRENCES, MAX_RANGE_SECONDS, OccurrenceView};
pub use events::*;
pub use held::HeldWindow;
pub use model::{Outside, Window, WindowId, WindowKind, WindowScope, WindowTimes, WindowView};
pub use request::{
    MAX_DEVICES, MAX_DURATION_SECONDS, MAX_GIVE_UP_SECONDS, MAX_GROUPS, MAX_OPERATIONS, NewOutside, NewWindow,
    NewWindowScope, NewWindowTimes, WindowChange,
};
pub use rules::{
    DecidingWindow, LOOK_AHEAD_SECONDS, Question, WindowDecision, WindowHandling, WindowSet, WindowStanding,
};
pub(in crate::work) use service::windows_that_count;
pub use service::{MAX_WINDOWS, OccurrenceFilter, WindowCheck, WindowService};

use crate::{access::Permission, work::plans::PLANS_READ};

/// What whoever subscribes to the calendar may see, as far as its owner may.
pub const CALENDAR_PERMISSIONS: [Permission; 2] = [WINDOWS_READ, PLANS_READ];
/// See windows, and what follows from them.
pub const WINDOWS_READ: Permission = Permission::new("windows:read");
/// Make, alter and delete windows.
pub const WINDOWS_WRITE: Permission = Permission::new("windows:write");
