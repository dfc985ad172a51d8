//! Enrolment tokens.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    devices::{
        EnrolmentTokenId, EnrolmentTokenView,
        enrolment::{NewEnrolmentToken, TokenFilter, TokenText},
    },
    kernel::{Class, Code, Error},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    extract::{Json, List, PageParams, Path},
    page_schema,
    problem::{ApiError, ApiResult},
    state::{ApiState, Caller},
};

/// The server does not know an address that agents could reach it by.
const PUBLIC_URL_INVALID: Code = Code::new("server.public_url_invalid", Class::Unavailable);

page_schema!(
    /// A page of enrolment tokens.
    EnrolmentTokenPage,
    EnrolmentTokenView
);

/// A new enrolment token with its text, which is shown this once.
#[derive(Clone, Serialize, ToSchema)]
pub struct CreatedEnrolmentToken {
    /// The text to carry to a machine: the server's address, its identity and the secret.
    #[schema(example = "fle1_eyJhZGRyZXNzIjoi…")]
    pub token: String,
    /// The token as it is listed.
    #[serde(flatten)]
    pub view: EnrolmentTokenView,
}

impl std::fmt::Debug for CreatedEnrolmentToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Whoever has the text can enrol devices.
        write!(f, "CreatedEnrolmentToken({})", self.view.id)
    }
}

/// Which enrolment tokens.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct EnrolmentTokenParams {
    /// Whether to leave out those that can no longer be used.
    #[param(default = false, required = false)]
    usable: bool,
}

/// List enrolment tokens, newest first.
#[utoipa::path(get, path = "/api/v1/enrolment-tokens", operation_id = "list_enrolment_tokens", tag = "enrolment-tokens", params(EnrolmentTokenParams, PageParams),
    responses((status = 200, description = "A page of tokens, without their secrets", body = EnrolmentTokenPage)),
    extensions(("x-fleet-permission" = json!("enrolment-tokens:read"))))]
pub(super) async fn list_enrolment_tokens(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<EnrolmentTokenParams>,
) -> ApiResult<Json<EnrolmentTokenPage>> {
    let filter = TokenFilter {
        usable: list.filter.usable,
    };
    Ok(Json(
        fleet.enrolment().tokens(&caller, filter, &list.page).await?.into(),
    ))
}

/// Make an enrolment token. Its text is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/enrolment-tokens", operation_id = "create_enrolment_token", tag = "enrolment-tokens", request_body = NewEnrolmentToken,
    responses((status = 201, description = "The token with its text", body = CreatedEnrolmentToken)),
    extensions(("x-fleet-permission" = json!("enrolment-tokens:write")), ("x-fleet-audit" = json!("enrolment_token.create"))))]
pub(super) async fn create_enrolment_token(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Json(new): Json<NewEnrolmentToken>,
) -> ApiResult<(StatusCode, Json<CreatedEnrolmentToken>)> {
    state.fleet.enrolment().check_may_create_token(&caller)?;
    let own = state.config.agents_url.clone();
    let address = own.clone().unwrap_or_else(|| state.config.public_url.clone());
    // Before the token is made: one without a text is of no use.
    TokenText::check_address(&address).map_err(|_| {
        ApiError::new(
            PUBLIC_URL_INVALID,
            "the server's public address is not set, or is none; set it, then make the token",
        )
    })?;
    let (view, secret) = state.fleet.enrolment().create_token(&caller, &new).await?;
    let text = TokenText {
        address,
        identity: state.fleet.keys().identity().public(),
        // Tells the agent that the certificates of this address come from the fleet itself.
        ca: own.map(|_| state.fleet.certificates().fingerprint()),
        secret,
    };
    let token = text.encode().map_err(Error::internal)?.to_string();
    Ok((StatusCode::CREATED, Json(CreatedEnrolmentToken { token, view })))
}

/// Show an enrolment token, without its secret.
#[utoipa::path(get, path = "/api/v1/enrolment-tokens/{id}", operation_id = "get_enrolment_token", tag = "enrolment-tokens", params(("id" = EnrolmentTokenId, Path, description = "The token")),
    responses((status = 200, description = "The token", body = EnrolmentTokenView)),
    extensions(("x-fleet-permission" = json!("enrolment-tokens:read"))))]
pub(super) async fn get_enrolment_token(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<EnrolmentTokenId>,
) -> ApiResult<Json<EnrolmentTokenView>> {
    Ok(Json(fleet.enrolment().token(&caller, id).await?))
}

/// Revoke an enrolment token.
///
/// Nobody can enrol with it any more; the devices that did stay. It stays in the list. Doing it again changes nothing.
#[utoipa::path(delete, path = "/api/v1/enrolment-tokens/{id}", operation_id = "delete_enrolment_token", tag = "enrolment-tokens", params(("id" = EnrolmentTokenId, Path, description = "The token")),
    responses((status = 204, description = "It is revoked")),
    extensions(("x-fleet-permission" = json!("enrolment-tokens:write")), ("x-fleet-audit" = json!("enrolment_token.revoke"))))]
pub(super) async fn delete_enrolment_token(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<EnrolmentTokenId>,
) -> ApiResult<StatusCode> {
    fleet.enrolment().revoke_token(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
