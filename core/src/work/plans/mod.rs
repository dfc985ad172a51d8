//! Plans: work that is kept under a name, to be done again by hand or by a schedule.
//!
//! ```text
//! request   what is asked         rules    what it comes to, and what a time of the schedule asks for
//! service   making and changing, starting by hand
//! occasion  a job makes the work of times that have come, each once
//! calendar  when plans are due, for those who look ahead
//! ```
//!
//! A time of a schedule makes one batch, whose id follows from plan and time; batch and progress are one commit. Times that passed while
//! nobody looked are missed, or made up for once, as the plan says. Devices are looked for anew each time, and what was made goes on
//! as it was asked for when its plan is changed or deleted.

mod calendar;
mod events;
mod model;
mod occasion;
mod request;
mod rules;
mod service;

pub(in crate::work) use calendar::{PlannedTime, Timetables};
pub use events::*;
pub use model::{Plan, PlanId, PlanOccasion, PlanOutcome, PlanProgress, PlanView};
pub(crate) use occasion::start_due;
pub use request::{NewPlan, PlanChange};
pub(crate) use rules::Due;
pub use service::{MAX_PLANS, PlanService};

use crate::access::Permission;

/// See plans.
pub const PLANS_READ: Permission = Permission::new("plans:read");
/// Start plans by hand; it takes the right to their operation as well.
pub const PLANS_START: Permission = Permission::new("plans:start");
/// Make, alter and delete plans; it takes the right to their operation as well.
pub const PLANS_WRITE: Permission = Permission::new("plans:write");
