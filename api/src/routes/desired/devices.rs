//! What a device shall be, and why; whom it belongs to, and what is chosen on it.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    devices::DeviceId,
    work::desired::{
        ActionId,
        manifest::{ManifestEvent, ManifestView, WhyFilter, WhyView},
        owners::{DeviceOwnersView, OwnersChange},
        selections::{AvailableView, SelectionChange},
    },
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    extract::{ETag, IfMatch, Json, List, PageParams, Path},
    page_schema,
    problem::ApiResult,
    routes::NoParams,
    state::Caller,
};

page_schema!(
    /// A page of what happened to a manifest.
    ManifestEventPage,
    ManifestEvent
);
page_schema!(
    /// A page of what comes of actions on a device.
    WhyPage,
    WhyView
);
page_schema!(
    /// A page of what is available on a device.
    AvailablePage,
    AvailableView
);

/// Which actions.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct WhyParams {
    /// Only this action, whatever comes of it; without it those that an assignment leads to.
    action: Option<ActionId>,
}

/// Show what a device shall be.
#[utoipa::path(get, path = "/api/v1/devices/{id}/manifest", operation_id = "get_device_manifest", tag = "manifests", params(("id" = DeviceId, Path, description = "The device")),
    responses((status = 200, description = "The manifest", body = ManifestView)),
    extensions(("x-fleet-permission" = json!("assignments:read"))))]
pub(super) async fn get_device_manifest(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
) -> ApiResult<Json<ManifestView>> {
    Ok(Json(fleet.desired().manifests().show(&caller, id).await?))
}

/// List what happened to the manifest of a device, newest first.
#[utoipa::path(get, path = "/api/v1/devices/{id}/manifest/events", operation_id = "list_device_manifest_events", tag = "manifests", params(("id" = DeviceId, Path, description = "The device"), PageParams),
    responses((status = 200, description = "A page of events", body = ManifestEventPage)),
    extensions(("x-fleet-permission" = json!("assignments:read"))))]
pub(super) async fn list_device_manifest_events(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
    list: List<NoParams>,
) -> ApiResult<Json<ManifestEventPage>> {
    Ok(Json(
        fleet
            .desired()
            .manifests()
            .history(&caller, id, &list.page)
            .await?
            .into(),
    ))
}

/// Say why actions apply to a device or not, by what is assigned now.
#[utoipa::path(get, path = "/api/v1/devices/{id}/why", operation_id = "explain_device_actions", tag = "manifests", params(("id" = DeviceId, Path, description = "The device"), WhyParams, PageParams),
    responses((status = 200, description = "A page of decisions", body = WhyPage)),
    extensions(("x-fleet-permission" = json!("assignments:read"))))]
pub(super) async fn explain_device_actions(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
    list: List<WhyParams>,
) -> ApiResult<Json<WhyPage>> {
    let filter = WhyFilter {
        action: list.filter.action,
    };
    let page = fleet
        .desired()
        .manifests()
        .why(&caller, id, &filter, &list.page)
        .await?;
    Ok(Json(page.into()))
}

/// Show whom a device belongs to.
#[utoipa::path(get, path = "/api/v1/devices/{id}/owners", operation_id = "get_device_owners", tag = "devices", params(("id" = DeviceId, Path, description = "The device")),
    responses((status = 200, description = "The users", body = DeviceOwnersView, headers(("ETag" = String, description = "Their revision")))),
    extensions(("x-fleet-permission" = json!("devices:read"))))]
pub(super) async fn get_device_owners(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
) -> ApiResult<(ETag, Json<DeviceOwnersView>)> {
    let found = fleet.desired().owners().show(&caller, id).await?;
    Ok((ETag(found.revision), Json(found)))
}

/// Give a device to users, and to nobody else.
#[utoipa::path(put, path = "/api/v1/devices/{id}/owners", operation_id = "set_device_owners", tag = "devices", request_body = OwnersChange,
    params(("id" = DeviceId, Path, description = "The device"), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, description = "The users", body = DeviceOwnersView, headers(("ETag" = String, description = "Their revision")))),
    extensions(("x-fleet-permission" = json!("devices:write")), ("x-fleet-audit" = json!("device.owners.set"))))]
pub(super) async fn set_device_owners(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
    condition: Option<IfMatch>,
    Json(change): Json<OwnersChange>,
) -> ApiResult<(ETag, Json<DeviceOwnersView>)> {
    let expected = condition.and_then(IfMatch::revision);
    let owners = fleet.desired().owners().set(&caller, id, expected, &change).await?;
    Ok((ETag(owners.revision), Json(owners)))
}

/// List what is available on a device, and whether it was chosen. Whoever owns the device sees it, too.
#[utoipa::path(get, path = "/api/v1/devices/{id}/available", operation_id = "list_device_available", tag = "manifests", params(("id" = DeviceId, Path, description = "The device"), PageParams),
    responses((status = 200, description = "A page of what is available", body = AvailablePage)),
    extensions(("x-fleet-permission" = json!("assignments:read"))))]
pub(super) async fn list_device_available(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
    list: List<NoParams>,
) -> ApiResult<Json<AvailablePage>> {
    Ok(Json(
        fleet.desired().selections().list(&caller, id, &list.page).await?.into(),
    ))
}

/// Choose what is available on a device, or not any more. Whoever may assign may, and whoever owns the device.
#[utoipa::path(put, path = "/api/v1/devices/{id}/selections", operation_id = "set_device_selection", tag = "manifests", request_body = SelectionChange,
    params(("id" = DeviceId, Path, description = "The device")),
    responses((status = 204, description = "It is so")),
    extensions(("x-fleet-permission" = json!("selections:write")), ("x-fleet-audit" = json!("selection.set"))))]
pub(super) async fn set_device_selection(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
    Json(change): Json<SelectionChange>,
) -> ApiResult<StatusCode> {
    fleet.desired().selections().set(&caller, id, &change).await?;
    Ok(StatusCode::NO_CONTENT)
}
