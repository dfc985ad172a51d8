//! Enrolment of devices.

use axum::{extract::State, http::StatusCode};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fleet_core::{
    Fleet,
    devices::enrolment::EnrolRequest,
    kernel::Error,
    protocol::{EnrolAnswer, EnrolAnswerBody},
};

use super::super::tries::{Enrolling, Tried};
use crate::{
    extract::{Json, RequestContext},
    problem::ApiResult,
};

/// Enrol a device with a token.
///
/// The request is a repeat when token, machine and key are those of an earlier one: it gets the same device.
#[utoipa::path(post, path = "/agent/v1/enrol", operation_id = "enrol_device", tag = "agent", request_body = EnrolRequest,
    responses((status = 201, description = "The device, signed by the server's identity key", body = EnrolAnswer)),
    security(()), extensions(("x-fleet-permission" = json!("enrolment-token")), ("x-fleet-audit" = json!("device.enrolled"))))]
pub(super) async fn enrol_device(
    State(fleet): State<Fleet>,
    _tried: Tried<Enrolling>,
    context: RequestContext,
    Json(request): Json<EnrolRequest>,
) -> ApiResult<(StatusCode, Json<EnrolAnswer>)> {
    let enrolled = fleet.enrolment().enrol(&request, context.origin()).await?;
    let body = EnrolAnswerBody {
        nonce: URL_SAFE_NO_PAD.encode(request.nonce),
        device: enrolled.device_id,
        name: enrolled.name,
        known: enrolled.known,
        public_key: request.public_key,
        time: fleet.clock().now(),
    };
    let mut answer = EnrolAnswer::sign(body, fleet.keys().identity()).map_err(Error::internal)?;
    answer.pending = enrolled.pending;
    Ok((StatusCode::CREATED, Json(answer)))
}
