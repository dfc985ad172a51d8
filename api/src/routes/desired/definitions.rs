//! Definitions.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    work::desired::{
        authoring::AuthoredFilter,
        definitions::{DefinitionChange, DefinitionId, DefinitionView, NewDefinition},
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
    /// A page of definitions.
    DefinitionPage,
    DefinitionView
);

/// List definitions, by name.
#[utoipa::path(get, path = "/api/v1/definitions", operation_id = "list_definitions", tag = "definitions", params(NameParams, PageParams),
    responses((status = 200, description = "A page of definitions", body = DefinitionPage)),
    extensions(("x-fleet-permission" = json!("actions:read"))))]
pub(super) async fn list_definitions(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<NameParams>,
) -> ApiResult<Json<DefinitionPage>> {
    let filter = AuthoredFilter {
        name: list.filter.search,
        unassigned: list.filter.unassigned,
        operation: None,
    };
    Ok(Json(
        fleet
            .desired()
            .definitions()
            .list(&caller, &filter, &list.page)
            .await?
            .into(),
    ))
}

/// Make a definition.
#[utoipa::path(post, path = "/api/v1/definitions", operation_id = "create_definition", tag = "definitions", request_body = NewDefinition,
    responses((status = 201, description = "The definition", body = DefinitionView, headers(("ETag" = String, description = "Its revision")))),
    extensions(("x-fleet-permission" = json!("actions:write")), ("x-fleet-audit" = json!("definition.create"))))]
pub(super) async fn create_definition(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(new): Json<NewDefinition>,
) -> ApiResult<(StatusCode, ETag, Json<DefinitionView>)> {
    let made = fleet.desired().definitions().create(&caller, &new).await?;
    Ok((StatusCode::CREATED, ETag(made.revision), Json(made)))
}

/// Show a definition.
#[utoipa::path(get, path = "/api/v1/definitions/{id}", operation_id = "get_definition", tag = "definitions", params(("id" = DefinitionId, Path, description = "The definition")),
    responses((status = 200, description = "The definition", body = DefinitionView, headers(("ETag" = String, description = "Its revision")))),
    extensions(("x-fleet-permission" = json!("actions:read"))))]
pub(super) async fn get_definition(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DefinitionId>,
) -> ApiResult<(ETag, Json<DefinitionView>)> {
    let found = fleet.desired().definitions().show(&caller, id).await?;
    Ok((ETag(found.revision), Json(found)))
}

/// Change a definition; what is absent stays as it is, what is given replaces the whole member. Devices that it applies to follow.
#[utoipa::path(patch, path = "/api/v1/definitions/{id}", operation_id = "update_definition", tag = "definitions", request_body = DefinitionChange,
    params(("id" = DefinitionId, Path, description = "The definition"), ("If-Match" = String, Header, description = "The ETag that was read, or *")),
    responses((status = 200, description = "The definition as it is now", body = DefinitionView, headers(("ETag" = String, description = "Its revision")))),
    extensions(("x-fleet-permission" = json!("actions:write")), ("x-fleet-audit" = json!("definition.update"))))]
pub(super) async fn update_definition(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DefinitionId>,
    condition: IfMatch,
    Json(change): Json<DefinitionChange>,
) -> ApiResult<(ETag, Json<DefinitionView>)> {
    let service = fleet.desired().definitions();
    let changed = service.set(&caller, id, condition.revision(), &change).await?;
    Ok((ETag(changed.revision), Json(changed)))
}

/// Delete a definition. One that is in use is refused, unless it is taken out of everything by force.
#[utoipa::path(delete, path = "/api/v1/definitions/{id}", operation_id = "delete_definition", tag = "definitions",
    params(("id" = DefinitionId, Path, description = "The definition"), DeleteParams, ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204, description = "It is gone")),
    extensions(("x-fleet-permission" = json!("actions:write")), ("x-fleet-audit" = json!("definition.delete"))))]
pub(super) async fn delete_definition(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DefinitionId>,
    Query(params): Query<DeleteParams>,
    condition: Option<IfMatch>,
) -> ApiResult<StatusCode> {
    let expected = condition.and_then(IfMatch::revision);
    fleet
        .desired()
        .definitions()
        .delete(&caller, id, expected, params.force)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
