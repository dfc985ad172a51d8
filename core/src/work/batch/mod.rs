//! Batches: work that was asked for, and what it was expanded to.
//!
//! ```text
//! targets    which devices are meant       resolve  finds them, once
//! request    what is asked and answered    rules    what it comes to
//! service    the first commit              expansion  the runs that follow it, step by step
//! release    lets runs go whose time has come or that were agreed to
//! cancel     stops all runs                retry    tries again what did not succeed
//! attempts   does so by itself             retry_policy  when, how often, after which ends
//! ```

mod attempts;
mod cancel;
mod confirmation;
mod expansion;
mod model;
mod release;
mod request;
mod resolve;
mod retry;
mod retry_policy;
mod rules;
mod service;
mod targets;

pub(crate) use attempts::retry_ended;
pub use attempts::{BATCH_RETRY_SETTLE, NO_RETRY_PENDING};
pub(in crate::work) use cancel::has_open_runs;
pub(crate) use cancel::{cancel_batch, cancel_open, stop_runs, wake};
pub(crate) use confirmation::Confirmation;
pub use confirmation::NOT_CONFIRMED;
pub(crate) use expansion::expand_stalled;
pub use model::{Batch, BatchId, BatchTargets, Cause};
pub(crate) use release::{LetIn, Release, WindowsSeen, release_due};
pub(crate) use request::Order;
pub use request::{BatchFilter, BatchRequest, BatchRetry, BatchView};
pub use resolve::{NO_TARGETS, TOO_MANY_TARGETS};
pub use retry::{NOTHING_TO_RETRY, RUN_NOT_ENDED, RUN_OF_ITS_DEVICE};
pub use retry_policy::{NewRetry, RETRY_NOT_IDEMPOTENT, RetryPolicy};
pub(crate) use rules::{MAX_APPROVALS, MAX_EXPIRY_SECONDS, check_rest};
pub(crate) use service::existing;
pub use service::{
    BATCH_CANCEL, BATCH_CREATE, BATCH_EXPAND, BATCH_NOT_FOUND, BATCH_RELEASE, BATCH_RETRY, BatchService, KEY_REUSED,
    MAX_TARGETS, TARGET_NOT_FOUND, batch_id_for_key,
};
pub(in crate::work) use service::{Written, new_batch};
pub use targets::{AskedTargets, PlannedTargets, Targets};
