//! The devices themselves.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    devices::{
        DeviceEvent, DeviceGroupId, DeviceId, DeviceView, Presence,
        device::{Approval, BulkOutcome, DeviceChange, DeviceFilter, DeviceOrder, DeviceSort, LabelChange},
    },
    store::Direction,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{DevicePage, NoParams};
use crate::{
    extract::{ETag, IfMatch, Json, List, PageParams, Path},
    page_schema,
    problem::{ApiError, ApiResult},
    state::Caller,
};

page_schema!(
    /// A page of what happened to a device.
    DeviceEventPage,
    DeviceEvent
);

/// What devices can be sorted by; with `-` the other way round.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
pub(super) enum DeviceSorting {
    /// By name, without regard to case.
    #[default]
    #[serde(rename = "name")]
    Name,
    #[serde(rename = "-name")]
    NameDown,
    /// Who was not heard of for longest first.
    #[serde(rename = "seen_at")]
    SeenAt,
    #[serde(rename = "-seen_at")]
    SeenAtDown,
    /// By waiting updates.
    #[serde(rename = "updates")]
    Updates,
    #[serde(rename = "-updates")]
    UpdatesDown,
    /// By waiting security updates.
    #[serde(rename = "security_updates")]
    SecurityUpdates,
    #[serde(rename = "-security_updates")]
    SecurityUpdatesDown,
    /// By the time of enrolment.
    #[serde(rename = "enrolled_at")]
    EnrolledAt,
    #[serde(rename = "-enrolled_at")]
    EnrolledAtDown,
}

impl From<DeviceSorting> for DeviceOrder {
    fn from(sorting: DeviceSorting) -> Self {
        use Direction::{Ascending, Descending};
        let (by, direction) = match sorting {
            DeviceSorting::Name => (DeviceSort::Name, Ascending),
            DeviceSorting::NameDown => (DeviceSort::Name, Descending),
            DeviceSorting::SeenAt => (DeviceSort::SeenAt, Ascending),
            DeviceSorting::SeenAtDown => (DeviceSort::SeenAt, Descending),
            DeviceSorting::Updates => (DeviceSort::Updates, Ascending),
            DeviceSorting::UpdatesDown => (DeviceSort::Updates, Descending),
            DeviceSorting::SecurityUpdates => (DeviceSort::SecurityUpdates, Ascending),
            DeviceSorting::SecurityUpdatesDown => (DeviceSort::SecurityUpdates, Descending),
            DeviceSorting::EnrolledAt => (DeviceSort::EnrolledAt, Ascending),
            DeviceSorting::EnrolledAtDown => (DeviceSort::EnrolledAt, Descending),
        };
        Self { by, direction }
    }
}

/// Which devices; all conditions hold together.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct DeviceParams {
    /// Words, each of which begins a word of the name, host name, labels, operating system or addresses, or the last
    /// eight digits of the id.
    search: Option<String>,
    /// Only those of this name, without regard to case.
    name: Option<String>,
    /// Only those with these labels, each as `name` or `name=value`.
    label: Vec<String>,
    /// Only those in this group.
    group: Option<DeviceGroupId>,
    /// Only those that are, are not, or never were heard of.
    presence: Option<Presence>,
    /// Only those with this distribution, by its id, such as `debian`.
    os: Option<String>,
    /// Only those with this release of their distribution.
    os_version: Option<String>,
    /// Only those of this processor architecture.
    architecture: Option<String>,
    /// Only those with this version of the agent.
    agent_version: Option<String>,
    /// Only those on which updates are, or are not, waiting.
    updates: Option<bool>,
    /// Only those on which security updates are, or are not, waiting.
    security_updates: Option<bool>,
    /// Only those that should, or need not, be restarted.
    reboot_required: Option<bool>,
    /// The order; `-` before a name turns it round.
    #[param(inline)]
    sort: DeviceSorting,
    /// Whether to count all that match; costs time on long lists.
    #[param(default = false)]
    count: bool,
}

/// List devices.
#[utoipa::path(get, path = "/api/v1/devices", operation_id = "list_devices", tag = "devices", params(DeviceParams, PageParams),
    responses((status = 200, description = "A page of devices", body = DevicePage)),
    extensions(("x-fleet-permission" = json!("devices:read"))))]
pub(super) async fn list_devices(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<DeviceParams>,
) -> ApiResult<Json<DevicePage>> {
    let params = list.filter;
    let filter = DeviceFilter {
        search: params.search,
        name: params.name,
        label: params.label,
        group: params.group,
        presence: params.presence,
        os: params.os,
        os_version: params.os_version,
        architecture: params.architecture,
        agent_version: params.agent_version,
        updates: params.updates,
        security_updates: params.security_updates,
        reboot_required: params.reboot_required,
    };
    let devices = fleet.devices();
    let page = devices.list(&caller, &filter, params.sort.into(), &list.page).await?;
    let total = if params.count {
        Some(devices.count(&caller, &filter).await?)
    } else {
        None
    };
    Ok(Json(DevicePage { total, ..page.into() }))
}

/// Show a device.
#[utoipa::path(get, path = "/api/v1/devices/{id}", operation_id = "get_device", tag = "devices", params(("id" = DeviceId, Path, description = "The device")),
    responses((status = 200, description = "The device", body = DeviceView, headers(("ETag" = String, description = "The device's revision")))),
    extensions(("x-fleet-permission" = json!("devices:read"))))]
pub(super) async fn get_device(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
) -> ApiResult<(ETag, Json<DeviceView>)> {
    let device = fleet.devices().show(&caller, id).await?;
    Ok((ETag(device.revision), Json(device)))
}

/// Rename, label, disable or enable a device.
///
/// The body is a merge patch (RFC 7396): what is absent stays as it is, and a label whose value is null is removed. A
/// disabled device is disconnected and kept out.
#[utoipa::path(patch, path = "/api/v1/devices/{id}", operation_id = "update_device", tag = "devices", request_body = DeviceChange,
    params(("id" = DeviceId, Path, description = "The device"), ("If-Match" = String, Header, description = "The ETag that was read, or *")),
    responses((status = 200, description = "The device as it is now", body = DeviceView, headers(("ETag" = String, description = "The device's revision")))),
    extensions(("x-fleet-permission" = json!("devices:write")), ("x-fleet-audit" = json!("device.update"))))]
pub(super) async fn update_device(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
    condition: IfMatch,
    Json(change): Json<DeviceChange>,
) -> ApiResult<(ETag, Json<DeviceView>)> {
    let device = fleet.devices().set(&caller, id, condition.revision(), &change).await?;
    Ok((ETag(device.revision), Json(device)))
}

/// Revoke the key of a device, and its certificate with it.
///
/// Its connections end within seconds, and it stays out until it is enrolled again, with a new key. Doing it again changes nothing.
#[utoipa::path(post, path = "/api/v1/devices/{id}/revoke", operation_id = "revoke_device", tag = "devices", params(("id" = DeviceId, Path, description = "The device")),
    responses((status = 200, description = "The device as it stands now", body = DeviceView)),
    extensions(("x-fleet-permission" = json!("devices:write")), ("x-fleet-audit" = json!("device.revoke"))))]
pub(super) async fn revoke_device(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
) -> ApiResult<Json<DeviceView>> {
    Ok(Json(fleet.devices().revoke(&caller, id).await?))
}

/// Let a device in that waits for approval.
///
/// As itself, or as the known device whose machine id it has: with the history of that one, whose key counts no more. The
/// answer is the device that it is from then on.
#[utoipa::path(post, path = "/api/v1/devices/{id}/approve", operation_id = "approve_device", tag = "devices", request_body = Approval, params(("id" = DeviceId, Path, description = "The device")),
    responses((status = 200, description = "The device that it is now", body = DeviceView)),
    extensions(("x-fleet-permission" = json!("devices:write")), ("x-fleet-audit" = json!("device.approve"))))]
pub(super) async fn approve_device(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
    Json(approval): Json<Approval>,
) -> ApiResult<Json<DeviceView>> {
    Ok(Json(fleet.devices().approve(&caller, id, approval).await?))
}

/// Turn a device away that waits for approval.
///
/// It is gone, and its agent is told and stops. Its enrolment token may have uses left: revoke it as well where that matters.
#[utoipa::path(post, path = "/api/v1/devices/{id}/reject", operation_id = "reject_device", tag = "devices", params(("id" = DeviceId, Path, description = "The device")),
    responses((status = 204, description = "It is gone")),
    extensions(("x-fleet-permission" = json!("devices:write")), ("x-fleet-audit" = json!("device.reject"))))]
pub(super) async fn reject_device(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
) -> ApiResult<StatusCode> {
    fleet.devices().reject(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete a device with all that is known of it.
///
/// What happened on it stays in the audit. Its agent is told that it was removed, and stops.
#[utoipa::path(delete, path = "/api/v1/devices/{id}", operation_id = "delete_device", tag = "devices",
    params(("id" = DeviceId, Path, description = "The device"), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204, description = "It is gone")),
    extensions(("x-fleet-permission" = json!("devices:delete")), ("x-fleet-audit" = json!("device.delete"))))]
pub(super) async fn delete_device(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
    condition: Option<IfMatch>,
) -> ApiResult<StatusCode> {
    let expected = condition.and_then(IfMatch::revision);
    fleet.devices().delete(&caller, id, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Set and remove labels of many devices.
///
/// At most 500 devices; what is wrong with one does not keep the others.
#[utoipa::path(post, path = "/api/v1/devices/labels", operation_id = "label_devices", tag = "devices", request_body = LabelChange,
    responses((status = 200, description = "What came of it, device by device where it failed", body = BulkOutcome)),
    extensions(("x-fleet-permission" = json!("devices:write")), ("x-fleet-audit" = json!("device.label.set"))))]
pub(super) async fn label_devices(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(change): Json<LabelChange>,
) -> ApiResult<Json<BulkOutcome>> {
    if change.set.is_empty() && change.remove.is_empty() {
        return Err(ApiError::invalid("/set", "name at least one label to set or to remove"));
    }
    Ok(Json(fleet.devices().change_labels(&caller, &change).await?))
}

/// List what happened to a device by itself, newest first.
#[utoipa::path(get, path = "/api/v1/devices/{id}/events", operation_id = "list_device_events", tag = "devices",
    params(("id" = DeviceId, Path, description = "The device"), PageParams),
    responses((status = 200, description = "A page of events", body = DeviceEventPage)),
    extensions(("x-fleet-permission" = json!("devices:read"))))]
pub(super) async fn list_device_events(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
    list: List<NoParams>,
) -> ApiResult<Json<DeviceEventPage>> {
    Ok(Json(fleet.devices().events(&caller, id, &list.page).await?.into()))
}
