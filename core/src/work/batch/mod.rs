//! Plans and batches: why work exists, and what it was expanded to.

mod model;
mod rules;
mod service;

pub use model::{Batch, BatchId, BatchRequest, BatchView, Cause, Plan, PlanId, PlannedTargets, Targets};
pub use service::{BATCH_CREATE, BATCH_NOT_FOUND, BatchService, MAX_TARGETS, batch_id_for_key};
