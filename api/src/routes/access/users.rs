//! Users.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    access::{
        Role,
        users::{NewUser, Password, UserChange, UserFilter, UserId, UserView},
    },
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    extract::{ETag, IfMatch, Json, List, PageParams, Path},
    page_schema,
    problem::ApiResult,
    state::Caller,
};

page_schema!(
    /// A page of users.
    UserPage,
    UserView
);

/// Which users.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct UserParams {
    /// Only of this role.
    role: Option<Role>,
    /// Only those that may not, or may, sign in.
    disabled: Option<bool>,
    /// Only those in whose names every word is the beginning of some word.
    search: Option<String>,
}

/// List users.
#[utoipa::path(get, path = "/api/v1/users", operation_id = "list_users", tag = "users", params(UserParams, PageParams),
    responses((status = 200, description = "A page of users", body = UserPage)),
    extensions(("x-fleet-permission" = json!("users:read"))))]
pub(super) async fn list_users(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<UserParams>,
) -> ApiResult<Json<UserPage>> {
    let UserParams { role, disabled, search } = list.filter;
    let filter = UserFilter { role, disabled, search };
    let page = fleet.access().users().list(&caller, &filter, &list.page).await?;
    Ok(Json(page.into()))
}

/// Create a user. Nobody gives a role that may do more than they themselves.
#[utoipa::path(post, path = "/api/v1/users", operation_id = "create_user", tag = "users", request_body = NewUser,
    responses((status = 201, description = "The user", body = UserView, headers(("ETag" = String, description = "The user's revision")))),
    extensions(("x-fleet-permission" = json!("users:write")), ("x-fleet-audit" = json!("user.create"))))]
pub(super) async fn create_user(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(new): Json<NewUser>,
) -> ApiResult<(StatusCode, ETag, Json<UserView>)> {
    let user = fleet.access().users().create(&caller, new).await?;
    Ok((StatusCode::CREATED, ETag(user.revision), Json(user)))
}

/// Show a user. Everybody sees themselves.
#[utoipa::path(get, path = "/api/v1/users/{id}", operation_id = "get_user", tag = "users", params(("id" = UserId, Path, description = "The user")),
    responses((status = 200, description = "The user", body = UserView, headers(("ETag" = String, description = "The user's revision")))),
    extensions(("x-fleet-permission" = json!("users:read"))))]
pub(super) async fn get_user(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<UserId>,
) -> ApiResult<(ETag, Json<UserView>)> {
    let user = fleet.access().users().show(&caller, id).await?;
    Ok((ETag(user.revision), Json(user)))
}

/// Change a user. What is absent stays; the last administrator who can sign in stays one.
#[utoipa::path(patch, path = "/api/v1/users/{id}", operation_id = "update_user", tag = "users", request_body = UserChange,
    params(("id" = UserId, Path, description = "The user"), ("If-Match" = String, Header, description = "The revision that the caller saw, or *")),
    responses((status = 200, description = "The user", body = UserView, headers(("ETag" = String, description = "The user's revision")))),
    extensions(("x-fleet-permission" = json!("users:write")), ("x-fleet-audit" = json!("user.set"))))]
pub(super) async fn update_user(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<UserId>,
    condition: IfMatch,
    Json(change): Json<UserChange>,
) -> ApiResult<(ETag, Json<UserView>)> {
    let user = fleet
        .access()
        .users()
        .set(&caller, id, change, condition.revision())
        .await?;
    Ok((ETag(user.revision), Json(user)))
}

/// Delete a user with sessions and keys. The last administrator who can sign in stays.
#[utoipa::path(delete, path = "/api/v1/users/{id}", operation_id = "delete_user", tag = "users",
    params(("id" = UserId, Path, description = "The user"), ("If-Match" = Option<String>, Header, description = "The revision that the caller saw")),
    responses((status = 204, description = "The user is gone")),
    extensions(("x-fleet-permission" = json!("users:write")), ("x-fleet-audit" = json!("user.delete"))))]
pub(super) async fn delete_user(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<UserId>,
    condition: Option<IfMatch>,
) -> ApiResult<StatusCode> {
    let expected = condition.and_then(IfMatch::revision);
    fleet.access().users().delete(&caller, id, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new password of somebody.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"password": "correct horse battery staple"}))]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordRequest {
    /// The password, 12 to 256 characters.
    password: Password,
}

/// Set a user's password. It ends all of the user's sessions and any lockout; for one's own there is another route.
#[utoipa::path(put, path = "/api/v1/users/{id}/password", operation_id = "set_user_password", tag = "users", request_body = PasswordRequest,
    params(("id" = UserId, Path, description = "The user")),
    responses((status = 204, description = "The password is set")),
    extensions(("x-fleet-permission" = json!("users:write")), ("x-fleet-audit" = json!("user.password.set"))))]
pub(super) async fn set_user_password(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<UserId>,
    Json(request): Json<PasswordRequest>,
) -> ApiResult<StatusCode> {
    fleet
        .access()
        .users()
        .set_password(&caller, id, None, &request.password)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
