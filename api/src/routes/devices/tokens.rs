//! Enrolment tokens.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    devices::{
        EnrolmentTokenId, EnrolmentTokenView,
        enrolment::{EnrolmentSecret, NewEnrolmentPin, NewEnrolmentToken, TokenFilter, TokenText},
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
    check_address(&state)?;
    let (view, secret) = state.fleet.enrolment().create_token(&caller, &new).await?;
    let token = text(&state, secret)?;
    Ok((StatusCode::CREATED, Json(CreatedEnrolmentToken { token, view })))
}

/// Where agents are led to.
fn address(state: &ApiState) -> &str {
    state.config.agents_url.as_ref().unwrap_or(&state.config.public_url)
}

/// Before a token is made: one without a text is of no use.
fn check_address(state: &ApiState) -> ApiResult<()> {
    TokenText::check_address(address(state)).map_err(|_| {
        ApiError::new(
            PUBLIC_URL_INVALID,
            "the server's public address is not set, or is none; set it, then make the token",
        )
    })
}

/// The text of a token.
pub(in crate::routes) fn text(state: &ApiState, secret: EnrolmentSecret) -> ApiResult<String> {
    let text = TokenText {
        address: address(state).to_owned(),
        identity: state.fleet.keys().identity().public(),
        // Tells the agent that the certificates of this address come from the fleet itself.
        ca: state
            .config
            .agents_url
            .as_ref()
            .map(|_| state.fleet.certificates().fingerprint()),
        secret,
    };
    Ok(text.encode().map_err(Error::internal)?.to_string())
}

/// A new PIN, which is shown this once.
#[derive(Clone, Serialize, ToSchema)]
pub struct CreatedEnrolmentPin {
    /// Six digits, good for one machine and ten minutes.
    #[schema(example = "493027")]
    pub pin: String,
    /// The address to type beside it.
    pub server: String,
    /// The token that it is exchanged for.
    pub token: EnrolmentTokenView,
}

impl std::fmt::Debug for CreatedEnrolmentPin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CreatedEnrolmentPin({})", self.token.id)
    }
}

/// Make a PIN: six digits to be typed into one machine within ten minutes.
///
/// At most five can be used at the same time, and ten wrong tries end them all. Revoking its token ends a PIN early.
#[utoipa::path(post, path = "/api/v1/enrolment-pins", operation_id = "create_enrolment_pin", tag = "enrolment-tokens", request_body = NewEnrolmentPin,
    responses((status = 201, description = "The PIN", body = CreatedEnrolmentPin)),
    extensions(("x-fleet-permission" = json!("enrolment-tokens:write")), ("x-fleet-audit" = json!("enrolment_token.create"))))]
pub(super) async fn create_enrolment_pin(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Json(new): Json<NewEnrolmentPin>,
) -> ApiResult<(StatusCode, Json<CreatedEnrolmentPin>)> {
    state.fleet.enrolment().check_may_create_token(&caller)?;
    check_address(&state)?;
    let (token, pin) = state.fleet.enrolment().create_pin(&caller, &new).await?;
    let created = CreatedEnrolmentPin {
        pin: pin.reveal().to_owned(),
        // Not the agents' own port: whoever has only a PIN believes certificates that everybody believes.
        server: state.config.public_url.clone(),
        token,
    };
    Ok((StatusCode::CREATED, Json(created)))
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
