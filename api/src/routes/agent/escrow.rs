//! Secrets that devices make.

use axum::extract::State;
use fleet_core::{
    Fleet,
    protocol::{EscrowConclude, EscrowDeposit, EscrowQuestion, EscrowReceipt, HeldSecrets},
};

use super::identity::FromDevice;
use crate::{
    extract::{Json, RequestContext, parse_json},
    problem::ApiResult,
};

/// Keep a secret that the device has made, before it changes anything.
///
/// It is kept when this answers. The same request again is no second deposit. The answer is signed by the server's identity key.
#[utoipa::path(post, path = "/agent/v1/escrow/deposit", operation_id = "deposit_secret", tag = "agent", request_body = EscrowDeposit,
    responses((status = 200, description = "It is kept", body = EscrowReceipt)),
    security(()), extensions(("x-fleet-permission" = json!("device")), ("x-fleet-audit" = json!("escrowed_secret.deposit"))))]
pub(super) async fn deposit_secret(
    State(fleet): State<Fleet>,
    context: RequestContext,
    from: FromDevice,
) -> ApiResult<Json<EscrowReceipt>> {
    let deposit: EscrowDeposit = parse_json(&from.body)?;
    let link = fleet.link();
    let receipt = link
        .deposit(&from.device, &context.origin(), &deposit, &from.body)
        .await?;
    Ok(Json(receipt))
}

/// Hear what became of a secret: it is in use, and the one before it no more; or it did not come into use.
#[utoipa::path(post, path = "/agent/v1/escrow/conclude", operation_id = "conclude_secret", tag = "agent", request_body = EscrowConclude,
    responses((status = 200, description = "How it stands", body = EscrowReceipt)),
    security(()), extensions(("x-fleet-permission" = json!("device")), ("x-fleet-audit" = json!("escrowed_secret.confirm"))))]
pub(super) async fn conclude_secret(
    State(fleet): State<Fleet>,
    context: RequestContext,
    from: FromDevice,
) -> ApiResult<Json<EscrowReceipt>> {
    let said: EscrowConclude = parse_json(&from.body)?;
    let link = fleet.link();
    let receipt = link
        .conclude(&from.device, &context.origin(), &said, &from.body)
        .await?;
    Ok(Json(receipt))
}

/// Read the device's own secrets of a user or disk that are in use, or may be.
#[utoipa::path(post, path = "/agent/v1/escrow/current", operation_id = "get_current_secrets", tag = "agent", request_body = EscrowQuestion,
    responses((status = 200, description = "The secrets, the newest first; none where none is kept", body = HeldSecrets)),
    security(()), extensions(("x-fleet-permission" = json!("device")), ("x-fleet-audit" = json!("escrowed_secret.read_by_device"))))]
pub(super) async fn get_current_secrets(
    State(fleet): State<Fleet>,
    context: RequestContext,
    from: FromDevice,
) -> ApiResult<Json<HeldSecrets>> {
    let question: EscrowQuestion = parse_json(&from.body)?;
    let link = fleet.link();
    let held = link
        .current_secrets(&from.device, &context.origin(), &question, &from.body)
        .await?;
    Ok(Json(held))
}
