//! Actions.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    work::desired::{
        actions::{ActionChange, ActionId, ActionView, NewAction},
        authoring::AuthoredFilter,
    },
};

use serde::Deserialize;
use utoipa::IntoParams;

use super::DeleteParams;
use crate::{
    extract::{ETag, IfMatch, Json, List, PageParams, Path, Query},
    page_schema,
    problem::ApiResult,
    state::Caller,
};

page_schema!(
    /// A page of actions.
    ActionPage,
    ActionView
);

/// Which actions.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct ActionParams {
    /// What the name begins with, without regard to case.
    search: Option<String>,
    /// Only of this kind of operation, such as `shell`.
    operation: Option<String>,
    /// Whether only those are wanted to which no assignment leads, neither to themselves nor to what holds them. Then a page may hold fewer than
    /// its limit and not be the last.
    #[param(default = false)]
    unassigned: bool,
}

/// List actions, by name.
#[utoipa::path(get, path = "/api/v1/actions", operation_id = "list_actions", tag = "actions", params(ActionParams, PageParams),
    responses((status = 200, description = "A page of actions", body = ActionPage)),
    extensions(("x-fleet-permission" = json!("actions:read"))))]
pub(super) async fn list_actions(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<ActionParams>,
) -> ApiResult<Json<ActionPage>> {
    let filter = AuthoredFilter {
        name: list.filter.search,
        operation: list.filter.operation,
        unassigned: list.filter.unassigned,
    };
    Ok(Json(
        fleet
            .desired()
            .actions()
            .list(&caller, &filter, &list.page)
            .await?
            .into(),
    ))
}

/// Make an action.
#[utoipa::path(post, path = "/api/v1/actions", operation_id = "create_action", tag = "actions", request_body = NewAction,
    responses((status = 201, description = "The action", body = ActionView, headers(("ETag" = String, description = "Its revision")))),
    extensions(("x-fleet-permission" = json!("actions:write")), ("x-fleet-audit" = json!("action.create"))))]
pub(super) async fn create_action(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(new): Json<NewAction>,
) -> ApiResult<(StatusCode, ETag, Json<ActionView>)> {
    let made = fleet.desired().actions().create(&caller, &new).await?;
    Ok((StatusCode::CREATED, ETag(made.revision), Json(made)))
}

/// Show an action.
#[utoipa::path(get, path = "/api/v1/actions/{id}", operation_id = "get_action", tag = "actions", params(("id" = ActionId, Path, description = "The action")),
    responses((status = 200, description = "The action", body = ActionView, headers(("ETag" = String, description = "Its revision")))),
    extensions(("x-fleet-permission" = json!("actions:read"))))]
pub(super) async fn get_action(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<ActionId>,
) -> ApiResult<(ETag, Json<ActionView>)> {
    let found = fleet.desired().actions().show(&caller, id).await?;
    Ok((ETag(found.revision), Json(found)))
}

/// Change an action; what is absent stays as it is, what is given replaces the whole member. Devices that it applies to follow.
#[utoipa::path(patch, path = "/api/v1/actions/{id}", operation_id = "update_action", tag = "actions", request_body = ActionChange,
    params(("id" = ActionId, Path, description = "The action"), ("If-Match" = String, Header, description = "The ETag that was read, or *")),
    responses((status = 200, description = "The action as it is now", body = ActionView, headers(("ETag" = String, description = "Its revision")))),
    extensions(("x-fleet-permission" = json!("actions:write")), ("x-fleet-audit" = json!("action.update"))))]
pub(super) async fn update_action(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<ActionId>,
    condition: IfMatch,
    Json(change): Json<ActionChange>,
) -> ApiResult<(ETag, Json<ActionView>)> {
    let service = fleet.desired().actions();
    let changed = service.set(&caller, id, condition.revision(), &change).await?;
    Ok((ETag(changed.revision), Json(changed)))
}

/// Delete an action. One that is in use is refused, unless it is taken out of everything by force.
#[utoipa::path(delete, path = "/api/v1/actions/{id}", operation_id = "delete_action", tag = "actions",
    params(("id" = ActionId, Path, description = "The action"), DeleteParams, ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204, description = "It is gone")),
    extensions(("x-fleet-permission" = json!("actions:write")), ("x-fleet-audit" = json!("action.delete"))))]
pub(super) async fn delete_action(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<ActionId>,
    Query(params): Query<DeleteParams>,
    condition: Option<IfMatch>,
) -> ApiResult<StatusCode> {
    let expected = condition.and_then(IfMatch::revision);
    fleet
        .desired()
        .actions()
        .delete(&caller, id, expected, params.force)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
