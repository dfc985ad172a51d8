//! Oneself.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    access::{Identity, users::Password},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::tries::{SigningIn, Tried};
use crate::{
    extract::Json,
    problem::{ApiError, ApiResult},
    state::Caller,
};

/// Show who asks, and what they may do.
#[utoipa::path(get, path = "/api/v1/me", operation_id = "get_me", tag = "me",
    responses((status = 200, description = "Who asks", body = Identity)),
    extensions(("x-fleet-permission" = json!("signed-in"))))]
pub(super) async fn get_me(State(fleet): State<Fleet>, Caller(caller): Caller) -> ApiResult<Json<Identity>> {
    Ok(Json(fleet.access().identity(&caller).await?))
}

/// A new password of one's own.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"current": "correct horse battery staple", "new": "a longer way to say the same"}))]
#[serde(deny_unknown_fields)]
pub(super) struct OwnPasswordRequest {
    /// The present password.
    current: Password,
    /// The new one, 12 to 256 characters.
    new: Password,
}

/// Set one's own password. All other sessions of the user are over then.
#[utoipa::path(put, path = "/api/v1/me/password", operation_id = "set_own_password", tag = "me", request_body = OwnPasswordRequest,
    responses((status = 204, description = "The password is set")),
    extensions(("x-fleet-permission" = json!("signed-in")), ("x-fleet-audit" = json!("user.password.set"))))]
pub(super) async fn set_own_password(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    _tried: Tried<SigningIn>,
    Json(request): Json<OwnPasswordRequest>,
) -> ApiResult<StatusCode> {
    let id = caller.signed_in()?;
    fleet
        .access()
        .users()
        .set_password(&caller, id, Some(&request.current), &request.new)
        .await
        // The domain's words for the members of this body.
        .map_err(|error| ApiError::from(error).renaming(&[("/current_password", "/current"), ("/password", "/new")]))?;
    Ok(StatusCode::NO_CONTENT)
}
