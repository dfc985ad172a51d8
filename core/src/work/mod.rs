//! Work: one lifecycle for everything that happens on a device.
//!
//! An **operation** is a registered kind of work. A **batch** is work that was asked for once, with frozen targets; a **run** is one
//! operation on one device; a **plan** is kept to make batches again and again. A run's state moves forward only, by one table
//! ([`State::after`]), with compare-and-set in storage; every edge leaves a row of lane `run_event` in the same commit.
//!
//! ```text
//! operations/  what can be run, and how its parameters are checked
//! batch/       batches: creation with idempotency keys, stopping, trying again, when they begin
//! promotions/  work that looks first: a dry run, and the same for real once somebody agreed
//! plans/       work that is kept under a name, and made again by hand or by a schedule
//! bell         goes on with what waits for runs, as soon as they have ended
//! approvals/   work that begins only when others agree
//! run/         the run, its states and edges; reading and cancelling
//! delivery/    offers to devices, what devices answer, the sweep
//! output/      what runs print
//! rollouts/    work that goes from wave to wave
//! secrets/     secrets among parameters: sealed where they come in, opened where they leave for a device
//! schedule/    when: once, or again and again by a cron expression in a time zone; pure
//! forgetting   what goes when it ended long ago
//! desired/     what devices shall be, and stay: actions, assignments, manifests
//! windows/     when devices may be changed, and when they must not be
//! ```
//!
//! ```
//! use fleet_core::work::{State, run::{Edge, Step}};
//!
//! assert_eq!(State::Queued.after(Edge::Offer), Step::To(State::Offered));
//! assert_eq!(State::Offered.after(Edge::Accept), Step::To(State::Accepted));
//! // What comes twice changes nothing; what contradicts is refused.
//! assert_eq!(State::Running.after(Edge::Accept), Step::Repeat);
//! assert_eq!(State::Succeeded.after(Edge::Finish(State::Failed)), Step::Illegal);
//! // The device vanished, and its result came after all.
//! assert_eq!(State::Lost.after(Edge::Finish(State::Succeeded)), Step::To(State::Succeeded));
//! ```

pub mod approvals;
pub mod batch;
pub(crate) mod bell;
pub mod delivery;
pub mod desired;
mod forgetting;
mod module;
pub mod operations;
pub mod output;
pub mod plans;
pub mod promotions;
pub mod rollouts;
pub mod run;
pub mod schedule;
pub mod secrets;
mod settings;
#[cfg(test)]
mod tests;
pub mod windows;

pub use approvals::{Approval, ApprovalId, ApprovalService, ApprovalView};
pub use batch::{Batch, BatchId, BatchRequest, BatchService, BatchView};
pub use forgetting::RUN_DAYS;
pub use module::module;
pub use operations::{OperationKind, Operations};
pub use plans::{Plan, PlanId, PlanService, PlanView};
pub use rollouts::{Rollout, RolloutService, RolloutView};
pub use run::{Priority, Run, RunCounts, RunFilter, RunId, RunService, RunView, State};
pub use secrets::{GivenParams, StoredParams};
pub use settings::{APPROVAL_SECONDS, APPROVALS_FOR, APPROVALS_NEEDED, ApprovalsFor, CONFIRM_ABOVE};

use crate::access::Permission;

/// See runs and their output.
pub const RUNS_READ: Permission = Permission::new("runs:read");
/// Cancel runs.
pub const RUNS_CANCEL: Permission = Permission::new("runs:cancel");
/// Try again what did not succeed; it takes the right to the operation as well.
pub const RUNS_RETRY: Permission = Permission::new("runs:retry");
/// Agree to work that others asked for, or refuse it.
pub const RUNS_APPROVE: Permission = Permission::new("runs:approve");
