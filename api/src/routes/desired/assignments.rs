//! Assignments.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    work::desired::{
        Mode,
        assignments::{AssignmentChange, AssignmentFilter, AssignmentId, AssignmentView, NewAssignment},
    },
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    extract::{ETag, IfMatch, Json, List, PageParams, Path},
    page_schema,
    problem::ApiResult,
    state::Caller,
};

page_schema!(
    /// A page of assignments.
    AssignmentPage,
    AssignmentView
);

/// Which assignments; all that is given has to fit.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct AssignmentParams {
    /// Those of this action, action set or definition.
    source: Option<Uuid>,
    /// Those to this device, device group or user.
    target: Option<Uuid>,
    /// Those of this mode.
    mode: Option<Mode>,
}

/// Assignments to be made, all or none of them.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"assignments": [{"source": {"type": "action", "id": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41"}, "target": {"type": "device_group", "id": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a42"}, "mode": "required"}]}))]
#[serde(deny_unknown_fields)]
pub(super) struct NewAssignments {
    /// The assignments, at most 256.
    assignments: Vec<NewAssignment>,
}

/// Assignments that were made, or were there already.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MadeAssignments {
    /// In the order in which they were asked for.
    items: Vec<AssignmentView>,
}

/// List assignments, oldest first.
#[utoipa::path(get, path = "/api/v1/assignments", operation_id = "list_assignments", tag = "assignments", params(AssignmentParams, PageParams),
    responses((status = 200, description = "A page of assignments", body = AssignmentPage)),
    extensions(("x-fleet-permission" = json!("assignments:read"))))]
pub(super) async fn list_assignments(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<AssignmentParams>,
) -> ApiResult<Json<AssignmentPage>> {
    let filter = AssignmentFilter {
        source: list.filter.source,
        target: list.filter.target,
        mode: list.filter.mode,
    };
    let page = fleet.desired().assignments().list(&caller, &filter, &list.page).await?;
    Ok(Json(page.into()))
}

/// Assign actions, action sets and definitions. What is assigned in this way already is given back as it is.
#[utoipa::path(post, path = "/api/v1/assignments", operation_id = "create_assignments", tag = "assignments", request_body = NewAssignments,
    responses((status = 201, description = "The assignments", body = MadeAssignments)),
    extensions(("x-fleet-permission" = json!("assignments:write")), ("x-fleet-audit" = json!("assignment.create"))))]
pub(super) async fn create_assignments(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(new): Json<NewAssignments>,
) -> ApiResult<(StatusCode, Json<MadeAssignments>)> {
    let items = fleet.desired().assignments().create(&caller, &new.assignments).await?;
    Ok((StatusCode::CREATED, Json(MadeAssignments { items })))
}

/// Show an assignment.
#[utoipa::path(get, path = "/api/v1/assignments/{id}", operation_id = "get_assignment", tag = "assignments", params(("id" = AssignmentId, Path, description = "The assignment")),
    responses((status = 200, description = "The assignment", body = AssignmentView, headers(("ETag" = String, description = "Its revision")))),
    extensions(("x-fleet-permission" = json!("assignments:read"))))]
pub(super) async fn get_assignment(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<AssignmentId>,
) -> ApiResult<(ETag, Json<AssignmentView>)> {
    let found = fleet.desired().assignments().show(&caller, id).await?;
    Ok((ETag(found.revision), Json(found)))
}

/// Change how something is assigned; what is absent stays as it is.
#[utoipa::path(patch, path = "/api/v1/assignments/{id}", operation_id = "update_assignment", tag = "assignments", request_body = AssignmentChange,
    params(("id" = AssignmentId, Path, description = "The assignment"), ("If-Match" = String, Header, description = "The ETag that was read, or *")),
    responses((status = 200, description = "The assignment as it is now", body = AssignmentView, headers(("ETag" = String, description = "Its revision")))),
    extensions(("x-fleet-permission" = json!("assignments:write")), ("x-fleet-audit" = json!("assignment.update"))))]
pub(super) async fn update_assignment(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<AssignmentId>,
    condition: IfMatch,
    Json(change): Json<AssignmentChange>,
) -> ApiResult<(ETag, Json<AssignmentView>)> {
    let service = fleet.desired().assignments();
    let changed = service.set(&caller, id, condition.revision(), &change).await?;
    Ok((ETag(changed.revision), Json(changed)))
}

/// Take an assignment back. What it applied and can be taken back is taken back on the devices.
#[utoipa::path(delete, path = "/api/v1/assignments/{id}", operation_id = "delete_assignment", tag = "assignments",
    params(("id" = AssignmentId, Path, description = "The assignment"), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204, description = "It is gone")),
    extensions(("x-fleet-permission" = json!("assignments:write")), ("x-fleet-audit" = json!("assignment.delete"))))]
pub(super) async fn delete_assignment(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<AssignmentId>,
    condition: Option<IfMatch>,
) -> ApiResult<StatusCode> {
    let expected = condition.and_then(IfMatch::revision);
    fleet.desired().assignments().delete(&caller, id, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}
