//! PINs, which are exchanged for tokens.

use axum::{Json as Answer, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::{
    devices::tokens,
    tries::{Guessing, Tried},
};
use crate::{
    extract::{Json, RequestContext},
    problem::ApiResult,
    state::ApiState,
};

/// A PIN that somebody has typed.
#[derive(Clone, Deserialize, ToSchema)]
#[schema(example = json!({"pin": "493027"}))]
pub struct TypedPin {
    /// Six digits; blanks and dashes among them do not matter.
    pub pin: String,
}

impl std::fmt::Debug for TypedPin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TypedPin(…)")
    }
}

/// What a PIN is worth.
#[derive(Clone, Serialize, ToSchema)]
pub struct RedeemedPin {
    /// The text of an enrolment token for one machine.
    #[schema(example = "fle1_eyJhZGRyZXNzIjoi…")]
    pub token: String,
}

impl std::fmt::Debug for RedeemedPin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedeemedPin(…)")
    }
}

/// Exchange a PIN for an enrolment token. Once; a wrong PIN brings all that can be used nearer to their end.
///
/// Only over a connection whose other end the agent is sure of: nothing in a PIN says whom it belongs to.
#[utoipa::path(post, path = "/agent/v1/pin", operation_id = "redeem_pin", tag = "agent", request_body = TypedPin,
    responses((status = 200, description = "The token", body = RedeemedPin)),
    security(()), extensions(("x-fleet-permission" = json!("enrolment-token")), ("x-fleet-audit" = json!("enrolment_pin.redeem"))))]
pub(super) async fn redeem_pin(
    State(state): State<ApiState>,
    _tried: Tried<Guessing>,
    context: RequestContext,
    Json(typed): Json<TypedPin>,
) -> ApiResult<Answer<RedeemedPin>> {
    let secret = state.fleet.enrolment().redeem_pin(&typed.pin, context.origin()).await?;
    Ok(Answer(RedeemedPin {
        token: tokens::text(&state, secret)?,
    }))
}
