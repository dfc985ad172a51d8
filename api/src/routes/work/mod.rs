//! Work: operations, batches, rollouts, plans, approvals, runs and their output.

mod approvals;
mod batches;
mod downloads;
mod operations;
mod plans;
mod rollouts;
mod runs;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{router::Routes, state::ApiState};

/// The routes of work.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new()
            .routes(routes!(operations::list_operations))
            .routes(routes!(batches::list_batches, batches::create_batch))
            .routes(routes!(batches::get_batch))
            .routes(routes!(batches::cancel_batch))
            .routes(routes!(batches::retry_batch))
            .routes(routes!(rollouts::list_rollouts))
            .routes(routes!(rollouts::get_rollout))
            .routes(routes!(rollouts::pause_rollout))
            .routes(routes!(rollouts::resume_rollout))
            .routes(routes!(rollouts::abort_rollout))
            .routes(routes!(plans::list_plans, plans::create_plan))
            .routes(routes!(plans::get_plan, plans::update_plan, plans::delete_plan))
            .routes(routes!(plans::start_plan))
            .routes(routes!(approvals::list_approvals))
            .routes(routes!(approvals::get_approval))
            .routes(routes!(approvals::approve_work))
            .routes(routes!(approvals::reject_work))
            .routes(routes!(runs::list_runs))
            .routes(routes!(runs::get_run))
            .routes(routes!(runs::cancel_run))
            .routes(routes!(runs::cancel_device_runs))
            .routes(routes!(runs::retry_run))
            .routes(routes!(runs::list_run_output))
            .routes(routes!(runs::list_run_events)),
        waiting: OpenApiRouter::new()
            .routes(routes!(runs::stream_run_output))
            .routes(routes!(downloads::download_run_text))
            .routes(routes!(downloads::download_run_ndjson)),
    }
}
