//! API keys.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    access::{
        keys::{ApiKeyId, ApiKeyView, KEYS_READ, NewApiKey},
        users::UserId,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    extract::{Json, List, PageParams, Path},
    page_schema,
    problem::ApiResult,
    state::Caller,
};

page_schema!(
    /// A page of API keys.
    ApiKeyPage,
    ApiKeyView
);

/// Whose keys.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct KeyParams {
    /// Only those that act for this user.
    owner: Option<UserId>,
}

/// List API keys: everybody's with `keys:read`, otherwise one's own.
#[utoipa::path(get, path = "/api/v1/keys", operation_id = "list_keys", tag = "keys", params(KeyParams, PageParams),
    responses((status = 200, description = "A page of API keys", body = ApiKeyPage)),
    extensions(("x-fleet-permission" = json!("signed-in"))))]
pub(super) async fn list_keys(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<KeyParams>,
) -> ApiResult<Json<ApiKeyPage>> {
    let owner = match list.filter.owner {
        None if caller.require(KEYS_READ).is_err() => Some(caller.signed_in()?),
        owner => owner,
    };
    Ok(Json(
        fleet.access().keys().list(&caller, owner, &list.page).await?.into(),
    ))
}

/// A key that was just created.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CreatedApiKey {
    /// The token, shown this once: send it as `Authorization: Bearer …`.
    token: String,
    #[serde(flatten)]
    key: ApiKeyView,
}

/// Create an API key. Its token is shown this once.
#[utoipa::path(post, path = "/api/v1/keys", operation_id = "create_key", tag = "keys", request_body = NewApiKey,
    responses((status = 201, description = "The key and its token", body = CreatedApiKey)),
    extensions(("x-fleet-permission" = json!("signed-in")), ("x-fleet-audit" = json!("api_key.create"))))]
pub(super) async fn create_key(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(new): Json<NewApiKey>,
) -> ApiResult<(StatusCode, Json<CreatedApiKey>)> {
    let created = fleet.access().keys().create(&caller, new).await?;
    let view = CreatedApiKey {
        token: created.token.expose().to_owned(),
        key: created.key,
    };
    Ok((StatusCode::CREATED, Json(view)))
}

/// Revoke an API key: one's own, or with `keys:write` anybody's. A key may always revoke itself.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", operation_id = "delete_key", tag = "keys", params(("id" = ApiKeyId, Path, description = "The key")),
    responses((status = 204, description = "The key opens nothing any more")),
    extensions(("x-fleet-permission" = json!("signed-in")), ("x-fleet-audit" = json!("api_key.revoke"))))]
pub(super) async fn delete_key(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<ApiKeyId>,
) -> ApiResult<StatusCode> {
    fleet.access().keys().revoke(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
