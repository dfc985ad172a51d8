//! Signing in and out.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use fleet_core::{
    Fleet,
    access::{
        sessions::{Login, SessionId, SessionView},
        users::{Password, UserId, UserView},
    },
    kernel::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::tries::{SigningIn, Tried};
use crate::{
    extract::{Json, List, PageParams, Path, RequestContext},
    page_schema,
    problem::ApiResult,
    state::Caller,
};

page_schema!(
    /// A page of sessions.
    SessionPage,
    SessionView
);

/// A sign-in.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"name": "ada", "password": "correct horse battery staple"}))]
#[serde(deny_unknown_fields)]
pub(super) struct LoginRequest {
    /// The name; upper and lower case are the same.
    name: String,
    /// The password.
    password: Password,
}

/// What a sign-in gives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignedInView {
    /// The session's token, shown this once: send it as `Authorization: Bearer …`.
    token: String,
    /// When the session ends at the latest; sooner when it is not used.
    expires_at: Timestamp,
    /// The user.
    user: UserView,
}

/// Sign in.
///
/// The answer to a wrong name and to a wrong password is the same. After too many failures the account is locked for a
/// while, which `Retry-After` tells.
#[utoipa::path(post, path = "/api/v1/sessions", operation_id = "create_session", tag = "sessions", request_body = LoginRequest,
    responses((status = 201, description = "The session", body = SignedInView)),
    security(()), extensions(("x-fleet-permission" = json!("public")), ("x-fleet-audit" = json!("auth.login"))))]
pub(super) async fn create_session(
    State(fleet): State<Fleet>,
    _tried: Tried<SigningIn>,
    context: RequestContext,
    headers: HeaderMap,
    Json(request): Json<LoginRequest>,
) -> ApiResult<(StatusCode, Json<SignedInView>)> {
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let login = Login {
        name: request.name,
        password: request.password,
        origin: context.origin(),
        user_agent: user_agent.map(str::to_owned),
    };
    let signed_in = fleet.access().sessions().login(login).await?;
    let view = SignedInView {
        token: signed_in.token.expose().to_owned(),
        expires_at: signed_in.session.expires_at,
        user: signed_in.user,
    };
    Ok((StatusCode::CREATED, Json(view)))
}

/// Whose sessions.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct SessionParams {
    /// Those of this user, which needs `users:read`; one's own when absent.
    user: Option<UserId>,
}

/// List one's own sessions.
#[utoipa::path(get, path = "/api/v1/sessions", operation_id = "list_sessions", tag = "sessions", params(SessionParams, PageParams),
    responses((status = 200, description = "A page of sessions", body = SessionPage)),
    extensions(("x-fleet-permission" = json!("signed-in"))))]
pub(super) async fn list_sessions(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<SessionParams>,
) -> ApiResult<Json<SessionPage>> {
    let page = fleet
        .access()
        .sessions()
        .list(&caller, list.filter.user, &list.page)
        .await?;
    Ok(Json(page.into()))
}

/// Sign out.
#[utoipa::path(delete, path = "/api/v1/sessions/current", operation_id = "delete_current_session", tag = "sessions",
    responses((status = 204, description = "The session that asked is over")),
    extensions(("x-fleet-permission" = json!("signed-in")), ("x-fleet-audit" = json!("auth.logout"))))]
pub(super) async fn delete_current_session(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
) -> ApiResult<StatusCode> {
    // A key has no session; that is a refusal, not something that is missing.
    caller.signed_in()?;
    fleet.access().sessions().logout(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End a session: one's own, or with `users:write` anybody's.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", operation_id = "delete_session", tag = "sessions",
    params(("id" = SessionId, Path, description = "The session")),
    responses((status = 204, description = "The session is over")),
    extensions(("x-fleet-permission" = json!("signed-in")), ("x-fleet-audit" = json!("session.revoke"))))]
pub(super) async fn delete_session(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<SessionId>,
) -> ApiResult<StatusCode> {
    fleet.access().sessions().revoke(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
