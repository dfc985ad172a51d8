//! What a device shall be.

use axum::extract::State;
use fleet_core::{
    Fleet,
    protocol::{ManifestAnswer, ManifestRequest},
};

use super::identity::FromDevice;
use crate::{
    extract::{Json, parse_json},
    problem::ApiResult,
};

/// Learn what the device shall be: its manifest, as the difference to what its agent has.
///
/// Digest, version and the request's nonce are signed by the key that signs work.
#[utoipa::path(post, path = "/agent/v1/manifest", operation_id = "get_own_manifest", tag = "agent",
    request_body = ManifestRequest,
    responses((status = 200, description = "The manifest; version 0 where the device has none", body = ManifestAnswer)),
    security(()), extensions(("x-fleet-permission" = json!("device"))))]
pub(super) async fn get_own_manifest(State(fleet): State<Fleet>, from: FromDevice) -> ApiResult<Json<ManifestAnswer>> {
    let request: ManifestRequest = parse_json(&from.body)?;
    Ok(Json(fleet.link().manifest(&from.device, &request).await?))
}
