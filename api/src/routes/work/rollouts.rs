//! Rollouts: work that goes from wave to wave.

use axum::extract::State;
use fleet_core::{
    Fleet,
    work::{
        BatchId, RolloutView,
        rollouts::{RolloutAbort, RolloutFilter},
    },
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    extract::{Json, List, PageParams, Path},
    page_schema,
    problem::ApiResult,
    state::Caller,
};

page_schema!(
    /// A page of rollouts.
    RolloutPage,
    RolloutView
);

/// Which rollouts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct RolloutParams {
    /// Only those that are not over.
    #[param(default = false)]
    open: bool,
}

/// List rollouts, newest first.
#[utoipa::path(get, path = "/api/v1/rollouts", operation_id = "list_rollouts", tag = "rollouts", params(RolloutParams, PageParams),
    responses((status = 200, description = "A page of rollouts", body = RolloutPage)),
    extensions(("x-fleet-permission" = json!("runs:read"))))]
pub(super) async fn list_rollouts(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<RolloutParams>,
) -> ApiResult<Json<RolloutPage>> {
    let filter = RolloutFilter { open: list.filter.open };
    Ok(Json(fleet.rollouts().list(&caller, &filter, &list.page).await?.into()))
}

/// Show how a batch goes from wave to wave: where it stands, and why it waits or halted.
#[utoipa::path(get, path = "/api/v1/batches/{id}/rollout", operation_id = "get_rollout", tag = "rollouts", params(("id" = BatchId, Path, description = "The batch")),
    responses((status = 200, description = "Its rollout", body = RolloutView)),
    extensions(("x-fleet-permission" = json!("runs:read"))))]
pub(super) async fn get_rollout(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<BatchId>,
) -> ApiResult<Json<RolloutView>> {
    Ok(Json(fleet.rollouts().show(&caller, id).await?))
}

/// Hold a rollout: no further run begins until somebody lets it go on. What devices have goes on.
#[utoipa::path(post, path = "/api/v1/batches/{id}/rollout/pause", operation_id = "pause_rollout", tag = "rollouts", params(("id" = BatchId, Path, description = "The batch")),
    responses((status = 200, description = "The rollout as it stands now", body = RolloutView)),
    extensions(("x-fleet-permission" = json!("runs:cancel")), ("x-fleet-audit" = json!("rollout.pause"))))]
pub(super) async fn pause_rollout(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<BatchId>,
) -> ApiResult<Json<RolloutView>> {
    Ok(Json(fleet.rollouts().pause(&caller, id).await?))
}

/// Let a rollout go on that somebody held or that halted, or have its next wave begin. What failed up to now counts no more. It takes the
/// right to the operation, too.
#[utoipa::path(post, path = "/api/v1/batches/{id}/rollout/resume", operation_id = "resume_rollout", tag = "rollouts", params(("id" = BatchId, Path, description = "The batch")),
    responses((status = 200, description = "The rollout as it stands now", body = RolloutView)),
    extensions(("x-fleet-permission" = json!("runs:cancel")), ("x-fleet-audit" = json!("rollout.resume"))))]
pub(super) async fn resume_rollout(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<BatchId>,
) -> ApiResult<Json<RolloutView>> {
    Ok(Json(fleet.rollouts().resume(&caller, id).await?))
}

/// Give a rollout up: what has not begun is taken back. What devices have ends by itself, or is stopped where that is asked for.
#[utoipa::path(post, path = "/api/v1/batches/{id}/rollout/abort", operation_id = "abort_rollout", tag = "rollouts", request_body = RolloutAbort,
    params(("id" = BatchId, Path, description = "The batch")),
    responses((status = 200, description = "The rollout as it stands now", body = RolloutView)),
    extensions(("x-fleet-permission" = json!("runs:cancel")), ("x-fleet-audit" = json!("rollout.abort"))))]
pub(super) async fn abort_rollout(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<BatchId>,
    Json(how): Json<RolloutAbort>,
) -> ApiResult<Json<RolloutView>> {
    Ok(Json(fleet.rollouts().abort(&caller, id, &how).await?))
}
