//! How a device stands.

use axum::extract::State;
use fleet_core::{
    Fleet,
    protocol::{StandingAnswer, StandingRequest},
};

use super::super::tries::{Certifying, Tried};
use crate::{extract::Json, problem::ApiResult};

/// Learn how the device of a key stands: admitted, pending, or gone.
///
/// The request proves the key by itself, and the answer is signed by the server's identity key, so that an agent may act on it.
#[utoipa::path(post, path = "/agent/v1/standing", operation_id = "get_standing", tag = "agent", request_body = StandingRequest,
    responses((status = 200, description = "How the device stands, signed by the server's identity key", body = StandingAnswer)),
    security(()), extensions(("x-fleet-permission" = json!("device-key"))))]
pub(super) async fn get_standing(
    State(fleet): State<Fleet>,
    _tried: Tried<Certifying>,
    Json(request): Json<StandingRequest>,
) -> ApiResult<Json<StandingAnswer>> {
    Ok(Json(fleet.link().standing(&request).await?))
}
