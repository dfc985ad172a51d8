//! Secrets that devices made, as people see them, and keys of devices' own.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    devices::DeviceId,
    escrow::{
        DeviceDiskKeysView, DiskPassphraseTokenView, EscrowFilter, EscrowKind, EscrowedSecretId, EscrowedSecretView,
        NewDiskPassphraseToken, RevealedSecret,
    },
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Json, List, PageParams, Path},
    page_schema,
    problem::ApiResult,
    router::Routes,
    state::{ApiState, Caller},
};

page_schema!(
    /// A page of escrowed secrets.
    EscrowedSecretPage,
    EscrowedSecretView
);

/// The routes of escrow.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new()
            .routes(routes!(list_escrowed_secrets))
            .routes(routes!(reveal_escrowed_secret))
            .routes(routes!(get_device_disk_keys))
            .routes(routes!(create_disk_passphrase_token)),
        waiting: OpenApiRouter::new(),
    }
}

/// Which secrets.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct EscrowedSecretParams {
    /// Only those of this kind.
    kind: Option<EscrowKind>,
    /// Only those of this subject: a user's name, or the UUID of a LUKS header.
    subject: Option<String>,
}

/// List the secrets of a device that are kept, the newest first, without the secrets.
///
/// Of a device that was deleted they are kept for 90 days more, and listed by its id.
#[utoipa::path(get, path = "/api/v1/devices/{id}/escrowed-secrets", operation_id = "list_escrowed_secrets", tag = "escrow",
    params(("id" = DeviceId, Path, description = "The device"), PageParams, EscrowedSecretParams),
    responses((status = 200, description = "A page of secrets, without their values", body = EscrowedSecretPage)),
    extensions(("x-fleet-permission" = json!("escrow:read"))))]
async fn list_escrowed_secrets(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
    list: List<EscrowedSecretParams>,
) -> ApiResult<Json<EscrowedSecretPage>> {
    let filter = EscrowFilter {
        kind: list.filter.kind,
        subject: list.filter.subject,
    };
    let page = fleet.escrow().list(&caller, id, &filter, &list.page).await?;
    Ok(Json(page.into()))
}

/// Read a secret. That it was read, by whom, and whose it is, stands in the audit.
#[utoipa::path(post, path = "/api/v1/escrowed-secrets/{id}/reveal", operation_id = "reveal_escrowed_secret", tag = "escrow",
    params(("id" = EscrowedSecretId, Path, description = "The secret")),
    responses((status = 200, description = "The secret; not to be stored by anything in between", body = RevealedSecret)),
    extensions(("x-fleet-permission" = json!("escrow:reveal")), ("x-fleet-audit" = json!("escrowed_secret.reveal"))))]
async fn reveal_escrowed_secret(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<EscrowedSecretId>,
) -> ApiResult<Json<RevealedSecret>> {
    Ok(Json(fleet.escrow().reveal(&caller, id).await?))
}

/// Show which key of its own each disk of a device has beside what is in escrow, as far as the device has told.
#[utoipa::path(get, path = "/api/v1/devices/{id}/disk-keys", operation_id = "get_device_disk_keys", tag = "escrow",
    params(("id" = DeviceId, Path, description = "The device")),
    responses((status = 200, description = "The keys, without what opens by them", body = DeviceDiskKeysView)),
    extensions(("x-fleet-permission" = json!("escrow:read"))))]
async fn get_device_disk_keys(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
) -> ApiResult<Json<DeviceDiskKeysView>> {
    Ok(Json(fleet.disk_keys().show(&caller, id).await?))
}

/// Make a token by which whoever is at a device chooses a passphrase of its disk, once. It is shown this once.
///
/// It takes `disk-passphrases:write`, or `disk-passphrases:own` and to own the device; any other device is not found.
#[utoipa::path(post, path = "/api/v1/devices/{id}/disk-passphrase-tokens", operation_id = "create_disk_passphrase_token", tag = "escrow",
    params(("id" = DeviceId, Path, description = "The device")), request_body = NewDiskPassphraseToken,
    responses((status = 201, description = "The token, and what to type on the device", body = DiskPassphraseTokenView)),
    extensions(("x-fleet-permission" = json!("disk-passphrases:own")), ("x-fleet-audit" = json!("disk_passphrase_token.create"))))]
async fn create_disk_passphrase_token(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
    Json(new): Json<NewDiskPassphraseToken>,
) -> ApiResult<(StatusCode, Json<DiskPassphraseTokenView>)> {
    let made = fleet.disk_keys().create_token(&caller, id, &new).await?;
    Ok((StatusCode::CREATED, Json(made)))
}
