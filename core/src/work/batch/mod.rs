//! Plans and batches: why work exists, and what it was expanded to.

mod expansion;
mod model;
mod rules;
mod service;

pub(crate) use expansion::expand_stalled;
pub use model::{Batch, BatchId, BatchRequest, BatchView, Cause, Plan, PlanId, PlannedTargets, Targets};
pub use service::{BATCH_CREATE, BATCH_EXPAND, BATCH_NOT_FOUND, BatchService, MAX_TARGETS, batch_id_for_key};
