//! Action sets.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    work::desired::{
        authoring::AuthoredFilter,
        sets::{ActionSetChange, ActionSetId, ActionSetView, NewActionSet},
    },
};

use super::{DeleteParams, NameParams};
use crate::{
    extract::{ETag, IfMatch, Json, List, PageParams, Path, Query},
    page_schema,
    problem::ApiResult,
    state::Caller,
};

page_schema!(
    /// A page of action sets.
    ActionSetPage,
    ActionSetView
);

/// List action sets, by name.
#[utoipa::path(get, path = "/api/v1/action-sets", operation_id = "list_action_sets", tag = "action-sets", params(NameParams, PageParams),
    responses((status = 200, description = "A page of action sets", body = ActionSetPage)),
    extensions(("x-fleet-permission" = json!("actions:read"))))]
pub(super) async fn list_action_sets(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<NameParams>,
) -> ApiResult<Json<ActionSetPage>> {
    let filter = AuthoredFilter {
        name: list.filter.search,
        unassigned: list.filter.unassigned,
        operation: None,
    };
    Ok(Json(
        fleet
            .desired()
            .action_sets()
            .list(&caller, &filter, &list.page)
            .await?
            .into(),
    ))
}

/// Make an action set.
#[utoipa::path(post, path = "/api/v1/action-sets", operation_id = "create_action_set", tag = "action-sets", request_body = NewActionSet,
    responses((status = 201, description = "The action set", body = ActionSetView, headers(("ETag" = String, description = "Its revision")))),
    extensions(("x-fleet-permission" = json!("actions:write")), ("x-fleet-audit" = json!("action_set.create"))))]
pub(super) async fn create_action_set(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(new): Json<NewActionSet>,
) -> ApiResult<(StatusCode, ETag, Json<ActionSetView>)> {
    let made = fleet.desired().action_sets().create(&caller, &new).await?;
    Ok((StatusCode::CREATED, ETag(made.revision), Json(made)))
}

/// Show an action set.
#[utoipa::path(get, path = "/api/v1/action-sets/{id}", operation_id = "get_action_set", tag = "action-sets", params(("id" = ActionSetId, Path, description = "The action set")),
    responses((status = 200, description = "The action set", body = ActionSetView, headers(("ETag" = String, description = "Its revision")))),
    extensions(("x-fleet-permission" = json!("actions:read"))))]
pub(super) async fn get_action_set(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<ActionSetId>,
) -> ApiResult<(ETag, Json<ActionSetView>)> {
    let found = fleet.desired().action_sets().show(&caller, id).await?;
    Ok((ETag(found.revision), Json(found)))
}

/// Change an action set; what is absent stays as it is, what is given replaces the whole member. Devices that it applies to follow.
#[utoipa::path(patch, path = "/api/v1/action-sets/{id}", operation_id = "update_action_set", tag = "action-sets", request_body = ActionSetChange,
    params(("id" = ActionSetId, Path, description = "The action set"), ("If-Match" = String, Header, description = "The ETag that was read, or *")),
    responses((status = 200, description = "The action set as it is now", body = ActionSetView, headers(("ETag" = String, description = "Its revision")))),
    extensions(("x-fleet-permission" = json!("actions:write")), ("x-fleet-audit" = json!("action_set.update"))))]
pub(super) async fn update_action_set(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<ActionSetId>,
    condition: IfMatch,
    Json(change): Json<ActionSetChange>,
) -> ApiResult<(ETag, Json<ActionSetView>)> {
    let service = fleet.desired().action_sets();
    let changed = service.set(&caller, id, condition.revision(), &change).await?;
    Ok((ETag(changed.revision), Json(changed)))
}

/// Delete an action set. One that is in use is refused, unless it is taken out of everything by force.
#[utoipa::path(delete, path = "/api/v1/action-sets/{id}", operation_id = "delete_action_set", tag = "action-sets",
    params(("id" = ActionSetId, Path, description = "The action set"), DeleteParams, ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204, description = "It is gone")),
    extensions(("x-fleet-permission" = json!("actions:write")), ("x-fleet-audit" = json!("action_set.delete"))))]
pub(super) async fn delete_action_set(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<ActionSetId>,
    Query(params): Query<DeleteParams>,
    condition: Option<IfMatch>,
) -> ApiResult<StatusCode> {
    let expected = condition.and_then(IfMatch::revision);
    fleet
        .desired()
        .action_sets()
        .delete(&caller, id, expected, params.force)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
