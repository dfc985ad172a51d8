//! Plans: work that is kept under a name, to be done again.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    work::{
        BatchView, PlanId, PlanView,
        batch::batch_id_for_key,
        plans::{NewPlan, PlanChange},
    },
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    extract::{ETag, IdempotencyKey, IfMatch, Json, List, PageParams, Path},
    page_schema,
    problem::ApiResult,
    state::Caller,
};

page_schema!(
    /// A page of plans.
    PlanPage,
    PlanView
);

/// Which plans.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct PlanParams {
    /// What the name begins with, without regard to case.
    search: Option<String>,
}

/// List plans, by name.
#[utoipa::path(get, path = "/api/v1/plans", operation_id = "list_plans", tag = "plans", params(PlanParams, PageParams),
    responses((status = 200, description = "A page of plans", body = PlanPage)),
    extensions(("x-fleet-permission" = json!("plans:read"))))]
pub(super) async fn list_plans(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<PlanParams>,
) -> ApiResult<Json<PlanPage>> {
    let name = list.filter.search.as_deref();
    Ok(Json(fleet.plans().list(&caller, name, &list.page).await?.into()))
}

/// Make a plan. It takes the right to its operation, too, on all devices.
#[utoipa::path(post, path = "/api/v1/plans", operation_id = "create_plan", tag = "plans", request_body = NewPlan,
    responses((status = 201, description = "The plan", body = PlanView, headers(("ETag" = String, description = "The plan's revision")))),
    extensions(("x-fleet-permission" = json!("plans:write")), ("x-fleet-audit" = json!("plan.create"))))]
pub(super) async fn create_plan(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(new): Json<NewPlan>,
) -> ApiResult<(StatusCode, ETag, Json<PlanView>)> {
    let plan = fleet.plans().create(&caller, &new).await?;
    Ok((StatusCode::CREATED, ETag(plan.revision), Json(plan)))
}

/// Show a plan.
#[utoipa::path(get, path = "/api/v1/plans/{id}", operation_id = "get_plan", tag = "plans", params(("id" = PlanId, Path, description = "The plan")),
    responses((status = 200, description = "The plan", body = PlanView, headers(("ETag" = String, description = "The plan's revision")))),
    extensions(("x-fleet-permission" = json!("plans:read"))))]
pub(super) async fn get_plan(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<PlanId>,
) -> ApiResult<(ETag, Json<PlanView>)> {
    let plan = fleet.plans().show(&caller, id).await?;
    Ok((ETag(plan.revision), Json(plan)))
}

/// Change a plan; what is absent stays as it is, what is given replaces the whole member, and null takes away what a plan may be without.
/// What it made before goes on as it was asked for.
#[utoipa::path(patch, path = "/api/v1/plans/{id}", operation_id = "update_plan", tag = "plans", request_body = PlanChange,
    params(("id" = PlanId, Path, description = "The plan"), ("If-Match" = String, Header, description = "The ETag that was read, or *")),
    responses((status = 200, description = "The plan as it is now", body = PlanView, headers(("ETag" = String, description = "The plan's revision")))),
    extensions(("x-fleet-permission" = json!("plans:write")), ("x-fleet-audit" = json!("plan.update"))))]
pub(super) async fn update_plan(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<PlanId>,
    condition: IfMatch,
    Json(change): Json<PlanChange>,
) -> ApiResult<(ETag, Json<PlanView>)> {
    let plan = fleet.plans().set(&caller, id, condition.revision(), &change).await?;
    Ok((ETag(plan.revision), Json(plan)))
}

/// Delete a plan. What it made before goes on.
#[utoipa::path(delete, path = "/api/v1/plans/{id}", operation_id = "delete_plan", tag = "plans",
    params(("id" = PlanId, Path, description = "The plan"), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204, description = "It is gone")),
    extensions(("x-fleet-permission" = json!("plans:write")), ("x-fleet-audit" = json!("plan.delete"))))]
pub(super) async fn delete_plan(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<PlanId>,
    condition: Option<IfMatch>,
) -> ApiResult<StatusCode> {
    let expected = condition.and_then(IfMatch::revision);
    fleet.plans().delete(&caller, id, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Start a plan's work now, whatever its schedule says. It takes the right to its operation, too.
#[utoipa::path(post, path = "/api/v1/plans/{id}/start", operation_id = "start_plan", tag = "plans",
    params(("id" = PlanId, Path, description = "The plan"), ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat return the batch that the first request made; known as long as that batch is kept")),
    responses((status = 201, description = "The batch", body = BatchView)),
    extensions(("x-fleet-permission" = json!("plans:start")), ("x-fleet-audit" = json!("batch.create"))))]
pub(super) async fn start_plan(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<PlanId>,
    key: Option<IdempotencyKey>,
) -> ApiResult<(StatusCode, Json<BatchView>)> {
    let route = format!("/api/v1/plans/{id}/start");
    let key = key.map(|key| batch_id_for_key(caller.actor(), &route, key.as_str()));
    let batch = fleet.plans().start(&caller, id, key).await?;
    Ok((StatusCode::CREATED, Json(batch)))
}
