//! Certificates of devices, and the authorities that are trusted.

use axum::extract::State;
use fleet_core::{
    Fleet,
    protocol::{CertificateAnswer, CertificateRequest, TrustAnswer},
};

use super::{
    super::tries::{Certifying, Tried},
    identity::FromKey,
};
use crate::{
    extract::{Json, parse_json},
    problem::ApiResult,
};

/// Learn which certificate authorities are trusted.
///
/// The answer is signed by the server's identity key, which the enrolment token names.
#[utoipa::path(post, path = "/agent/v1/trust", operation_id = "learn_authorities", tag = "agent", request_body = CertificateRequest,
    responses((status = 200, description = "The authorities, signed by the server's identity key", body = TrustAnswer)),
    security(()), extensions(("x-fleet-permission" = json!("public"))))]
pub(super) async fn learn_authorities(
    State(fleet): State<Fleet>,
    _tried: Tried<Certifying>,
    Json(request): Json<CertificateRequest>,
) -> ApiResult<Json<TrustAnswer>> {
    Ok(Json(fleet.link().trust(&request)?))
}

/// Issue a device its next certificate, over the key that signed the request. The ones before it count no more.
///
/// The request is signed with the device's key, whatever way it comes and however long the device was away.
#[utoipa::path(post, path = "/agent/v1/certificate", operation_id = "certify_device", tag = "agent", request_body = CertificateRequest,
    responses((status = 200, description = "The certificate, signed by the server's identity key", body = CertificateAnswer)),
    security(()), extensions(("x-fleet-permission" = json!("device"))))]
pub(super) async fn certify_device(
    State(fleet): State<Fleet>,
    _tried: Tried<Certifying>,
    FromKey(from): FromKey,
) -> ApiResult<Json<CertificateAnswer>> {
    let request: CertificateRequest = parse_json(&from.body)?;
    Ok(Json(fleet.link().certify(&from.device, &request).await?))
}
