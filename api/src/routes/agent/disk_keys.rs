//! Keys of the device's own, by which its disks open.

use axum::extract::State;
use fleet_core::{
    Fleet,
    protocol::{DiskKeyReceipt, DiskKeyTold, DiskPassphraseTokenCheck, DiskPassphraseTokenUse},
};

use super::identity::FromDevice;
use crate::{
    extract::{Json, RequestContext, parse_json},
    problem::ApiResult,
};

/// Say whether a passphrase of a disk may be chosen by a token. The token stays as it is. The answer is signed by the server's identity key.
#[utoipa::path(post, path = "/agent/v1/disk-passphrase-tokens/check", operation_id = "check_disk_passphrase_token", tag = "agent",
    request_body = DiskPassphraseTokenCheck,
    responses((status = 200, description = "It can be used", body = DiskKeyReceipt)),
    security(()), extensions(("x-fleet-permission" = json!("device"))))]
pub(super) async fn check_disk_passphrase_token(
    State(fleet): State<Fleet>,
    context: RequestContext,
    from: FromDevice,
) -> ApiResult<Json<DiskKeyReceipt>> {
    let check: DiskPassphraseTokenCheck = parse_json(&from.body)?;
    let link = fleet.link();
    let receipt = link
        .check_disk_passphrase_token(&from.device, &context.origin(), &check, &from.body)
        .await?;
    Ok(Json(receipt))
}

/// Hear that a passphrase was chosen by a token, which is used with that. The same request again is no second use.
#[utoipa::path(post, path = "/agent/v1/disk-passphrase-tokens/use", operation_id = "use_disk_passphrase_token", tag = "agent",
    request_body = DiskPassphraseTokenUse,
    responses((status = 200, description = "It was heard", body = DiskKeyReceipt)),
    security(()), extensions(("x-fleet-permission" = json!("device")), ("x-fleet-audit" = json!("disk_passphrase_token.use"))))]
pub(super) async fn use_disk_passphrase_token(
    State(fleet): State<Fleet>,
    context: RequestContext,
    from: FromDevice,
) -> ApiResult<Json<DiskKeyReceipt>> {
    let said: DiskPassphraseTokenUse = parse_json(&from.body)?;
    let link = fleet.link();
    let receipt = link
        .use_disk_passphrase_token(&from.device, &context.origin(), &said, &from.body)
        .await?;
    Ok(Json(receipt))
}

/// Hear which key of its own a disk of the device has.
#[utoipa::path(post, path = "/agent/v1/disk-keys/tell", operation_id = "tell_disk_key", tag = "agent", request_body = DiskKeyTold,
    responses((status = 200, description = "It was heard", body = DiskKeyReceipt)),
    security(()), extensions(("x-fleet-permission" = json!("device")), ("x-fleet-audit" = json!("disk_key.told"))))]
pub(super) async fn tell_disk_key(
    State(fleet): State<Fleet>,
    context: RequestContext,
    from: FromDevice,
) -> ApiResult<Json<DiskKeyReceipt>> {
    let told: DiskKeyTold = parse_json(&from.body)?;
    let link = fleet.link();
    let receipt = link
        .tell_disk_key(&from.device, &context.origin(), &told, &from.body)
        .await?;
    Ok(Json(receipt))
}
