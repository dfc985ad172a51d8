//! The first administrator.

use axum::{extract::State, http::StatusCode};
use fleet_core::access::{
    bootstrap::Claim,
    users::{Password, UserView},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::tries::{Claiming, Tried};
use crate::{
    extract::{ETag, Json, RequestContext},
    problem::ApiResult,
    state::ApiState,
};

/// The first administrator to be.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"token": "fla1_…", "name": "ada", "password": "correct horse battery staple"}))]
#[serde(deny_unknown_fields)]
pub(super) struct BootstrapRequest {
    /// The one-time token that the server printed at its start.
    token: String,
    /// The name to sign in with: 1 to 64 of `a-z 0-9 . _ - @ +`, beginning with a letter or digit.
    name: String,
    /// The password, 12 to 256 characters.
    password: Password,
}

/// Create the first administrator.
///
/// Works once, while there is no user, with the token that the server printed at its start.
#[utoipa::path(post, path = "/api/v1/bootstrap", operation_id = "claim_bootstrap", tag = "sessions", request_body = BootstrapRequest,
    responses((status = 201, description = "The administrator", body = UserView, headers(("ETag" = String, description = "The user's revision")))),
    security(()), extensions(("x-fleet-permission" = json!("bootstrap-token")), ("x-fleet-audit" = json!("auth.bootstrap.claim"))))]
pub(super) async fn claim_bootstrap(
    State(state): State<ApiState>,
    _tried: Tried<Claiming>,
    context: RequestContext,
    Json(request): Json<BootstrapRequest>,
) -> ApiResult<(StatusCode, ETag, Json<UserView>)> {
    let claim = Claim {
        token: request.token,
        name: request.name,
        password: request.password,
        origin: context.origin(),
    };
    let user = state.fleet.access().claim(claim).await?;
    forget_token(&state).await;
    Ok((StatusCode::CREATED, ETag(user.revision), Json(user)))
}

/// The token is of no use any more; a file that cannot be removed is untidy, and no reason to fail.
async fn forget_token(state: &ApiState) {
    let Some(path) = state.config.bootstrap_token_file.clone() else {
        return;
    };
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_file(path)).await;
    match removed.map_err(std::io::Error::other).flatten() {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "the file of the used bootstrap token could not be removed"),
    }
}
