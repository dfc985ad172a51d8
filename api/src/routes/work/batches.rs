//! Batches: one request for work on many devices.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    work::{
        BatchId, BatchRequest, BatchView, PlanId,
        batch::{BatchFilter, BatchRetry, batch_id_for_key},
    },
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    extract::{IdempotencyKey, Json, List, PageParams, Path},
    page_schema,
    problem::ApiResult,
    state::Caller,
};

page_schema!(
    /// A page of batches.
    BatchPage,
    BatchView
);

/// Which batches.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct BatchParams {
    /// Only of this kind of operation.
    operation: Option<String>,
    /// Only those that were made for this plan.
    plan: Option<PlanId>,
}

/// List batches, newest first.
#[utoipa::path(get, path = "/api/v1/batches", operation_id = "list_batches", tag = "batches", params(BatchParams, PageParams),
    responses((status = 200, description = "A page of batches", body = BatchPage)),
    extensions(("x-fleet-permission" = json!("runs:read"))))]
pub(super) async fn list_batches(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<BatchParams>,
) -> ApiResult<Json<BatchPage>> {
    let filter = BatchFilter {
        operation: list.filter.operation,
        plan: list.filter.plan,
    };
    Ok(Json(fleet.batches().list(&caller, &filter, &list.page).await?.into()))
}

/// Run an operation on devices.
#[utoipa::path(post, path = "/api/v1/batches", operation_id = "create_batch", tag = "batches", request_body = BatchRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat return the batch that the first request made; known as long as that batch is kept")),
    responses((status = 201, description = "The batch, with a queued run for each device", body = BatchView)),
    extensions(("x-fleet-permission" = json!("operations.{operation}:run")), ("x-fleet-audit" = json!("batch.create"))))]
pub(super) async fn create_batch(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    key: Option<IdempotencyKey>,
    Json(request): Json<BatchRequest>,
) -> ApiResult<(StatusCode, Json<BatchView>)> {
    let key = key.map(|key| batch_id_for_key(caller.actor(), "/api/v1/batches", key.as_str()));
    let batch = fleet.batches().create(&caller, &request, key).await?;
    Ok((StatusCode::CREATED, Json(batch)))
}

/// Show a batch and how its runs stand.
#[utoipa::path(get, path = "/api/v1/batches/{id}", operation_id = "get_batch", tag = "batches", params(("id" = BatchId, Path, description = "The batch")),
    responses((status = 200, description = "The batch", body = BatchView)),
    extensions(("x-fleet-permission" = json!("runs:read"))))]
pub(super) async fn get_batch(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<BatchId>,
) -> ApiResult<Json<BatchView>> {
    Ok(Json(fleet.batches().show(&caller, id).await?))
}

/// Stop all runs of a batch: at once where no device has them, otherwise as soon as their devices hear of it.
#[utoipa::path(post, path = "/api/v1/batches/{id}/cancel", operation_id = "cancel_batch", tag = "batches", params(("id" = BatchId, Path, description = "The batch")),
    responses((status = 200, description = "The batch as it stands now", body = BatchView)),
    extensions(("x-fleet-permission" = json!("runs:cancel")), ("x-fleet-audit" = json!("batch.cancel"))))]
pub(super) async fn cancel_batch(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<BatchId>,
) -> ApiResult<Json<BatchView>> {
    Ok(Json(fleet.batches().cancel(&caller, id).await?))
}

/// Try again what did not succeed: a new batch, with the same operation and parameters. It takes the right to that operation, too.
#[utoipa::path(post, path = "/api/v1/batches/{id}/retry", operation_id = "retry_batch", tag = "batches", request_body = BatchRetry,
    params(("id" = BatchId, Path, description = "The batch"), ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat return the batch that the first request made; known as long as that batch is kept")),
    responses((status = 201, description = "The new batch", body = BatchView)),
    extensions(("x-fleet-permission" = json!("runs:retry")), ("x-fleet-audit" = json!("batch.retry"))))]
pub(super) async fn retry_batch(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<BatchId>,
    key: Option<IdempotencyKey>,
    Json(retry): Json<BatchRetry>,
) -> ApiResult<(StatusCode, Json<BatchView>)> {
    let route = format!("/api/v1/batches/{id}/retry");
    let key = key.map(|key| batch_id_for_key(caller.actor(), &route, key.as_str()));
    let batch = fleet.batches().retry(&caller, id, &retry, key).await?;
    Ok((StatusCode::CREATED, Json(batch)))
}
