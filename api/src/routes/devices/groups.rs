//! Groups of devices.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    devices::{
        DeviceGroupId, DeviceGroupView, DeviceId,
        groups::{CheckedQuery, DeviceGroupChange, GroupEvaluation, NewDeviceGroup, QueryCheck},
    },
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    extract::{ETag, IfMatch, Json, List, PageParams, Path},
    page_schema,
    problem::ApiResult,
    state::Caller,
};

page_schema!(
    /// A page of groups of devices.
    DeviceGroupPage,
    DeviceGroupView
);

/// Which groups.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct DeviceGroupParams {
    /// What the name begins with, without regard to case.
    search: Option<String>,
}

/// List groups of devices, by name.
///
/// The devices of a group are those that `GET /api/v1/devices?group=` lists.
#[utoipa::path(get, path = "/api/v1/device-groups", operation_id = "list_device_groups", tag = "device-groups", params(DeviceGroupParams, PageParams),
    responses((status = 200, description = "A page of groups", body = DeviceGroupPage)),
    extensions(("x-fleet-permission" = json!("device-groups:read"))))]
pub(super) async fn list_device_groups(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<DeviceGroupParams>,
) -> ApiResult<Json<DeviceGroupPage>> {
    let name = list.filter.search.as_deref();
    Ok(Json(
        fleet.device_groups().list(&caller, name, &list.page).await?.into(),
    ))
}

/// Make a group of devices.
///
/// With a `query` it is a dynamic group: its members are the devices that the query describes, and nobody puts devices in or takes
/// them out. They are found right after the group was made; `evaluated_at` says when that was done.
#[utoipa::path(post, path = "/api/v1/device-groups", operation_id = "create_device_group", tag = "device-groups", request_body = NewDeviceGroup,
    responses((status = 201, description = "The group", body = DeviceGroupView, headers(("ETag" = String, description = "The group's revision")))),
    extensions(("x-fleet-permission" = json!("device-groups:write")), ("x-fleet-audit" = json!("device_group.create"))))]
pub(super) async fn create_device_group(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(new): Json<NewDeviceGroup>,
) -> ApiResult<(StatusCode, ETag, Json<DeviceGroupView>)> {
    let group = fleet.device_groups().create(&caller, &new).await?;
    Ok((StatusCode::CREATED, ETag(group.revision), Json(group)))
}

/// Show a group of devices.
#[utoipa::path(get, path = "/api/v1/device-groups/{id}", operation_id = "get_device_group", tag = "device-groups", params(("id" = DeviceGroupId, Path, description = "The group")),
    responses((status = 200, description = "The group", body = DeviceGroupView, headers(("ETag" = String, description = "The group's revision")))),
    extensions(("x-fleet-permission" = json!("device-groups:read"))))]
pub(super) async fn get_device_group(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceGroupId>,
) -> ApiResult<(ETag, Json<DeviceGroupView>)> {
    let group = fleet.device_groups().show(&caller, id).await?;
    Ok((ETag(group.revision), Json(group)))
}

/// Rename or describe a group of devices, give it a query or take it away; what is absent stays as it is.
///
/// With a `query` a static group becomes dynamic: whom the query does not describe leaves. With `null` a dynamic group becomes static: its members of this
/// moment stay in it, and from then on devices are put in and taken out. While `settling` is true a pass over all devices is under way;
/// lists, filters and targets are right meanwhile.
#[utoipa::path(patch, path = "/api/v1/device-groups/{id}", operation_id = "update_device_group", tag = "device-groups", request_body = DeviceGroupChange,
    params(("id" = DeviceGroupId, Path, description = "The group"), ("If-Match" = String, Header, description = "The ETag that was read, or *")),
    responses((status = 200, description = "The group as it is now", body = DeviceGroupView, headers(("ETag" = String, description = "The group's revision")))),
    extensions(("x-fleet-permission" = json!("device-groups:write")), ("x-fleet-audit" = json!("device_group.update"))))]
pub(super) async fn update_device_group(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceGroupId>,
    condition: IfMatch,
    Json(change): Json<DeviceGroupChange>,
) -> ApiResult<(ETag, Json<DeviceGroupView>)> {
    let groups = fleet.device_groups();
    let group = groups.set(&caller, id, condition.revision(), &change).await?;
    Ok((ETag(group.revision), Json(group)))
}

/// Delete a group of devices. Its devices stay.
#[utoipa::path(delete, path = "/api/v1/device-groups/{id}", operation_id = "delete_device_group", tag = "device-groups",
    params(("id" = DeviceGroupId, Path, description = "The group"), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204, description = "It is gone")),
    extensions(("x-fleet-permission" = json!("device-groups:write")), ("x-fleet-audit" = json!("device_group.delete"))))]
pub(super) async fn delete_device_group(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceGroupId>,
    condition: Option<IfMatch>,
) -> ApiResult<StatusCode> {
    let expected = condition.and_then(IfMatch::revision);
    fleet.device_groups().delete(&caller, id, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Try a query of a dynamic group, without storing it.
///
/// Says whether the text is a query, and where it stops being one; what it is in canonical form; and how many devices it describes, with
/// some of them as examples where the caller may see devices.
#[utoipa::path(post, path = "/api/v1/device-groups/check-query", operation_id = "check_device_group_query", tag = "device-groups", request_body = QueryCheck,
    responses((status = 200, description = "What the query comes to", body = CheckedQuery)),
    extensions(("x-fleet-permission" = json!("device-groups:read"))))]
pub(super) async fn check_device_group_query(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(check): Json<QueryCheck>,
) -> ApiResult<Json<CheckedQuery>> {
    Ok(Json(fleet.device_groups().check_query(&caller, &check).await?))
}

/// Evaluate a dynamic group now.
///
/// Groups are evaluated by themselves, with each change of a device and after each change of a query. This evaluates all devices
/// once more, at most 100,000, and answers when that is done.
#[utoipa::path(post, path = "/api/v1/device-groups/{id}/evaluate", operation_id = "evaluate_device_group", tag = "device-groups",
    params(("id" = DeviceGroupId, Path, description = "The group")),
    responses((status = 200, description = "How many devices came into the group, and how many left it", body = GroupEvaluation)),
    extensions(("x-fleet-permission" = json!("device-groups:write")), ("x-fleet-audit" = json!("device_group.evaluate"))))]
pub(super) async fn evaluate_device_group(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceGroupId>,
) -> ApiResult<Json<GroupEvaluation>> {
    Ok(Json(fleet.device_groups().evaluate_group(&caller, id).await?))
}

/// Put a device into a group. Doing it again changes nothing.
#[utoipa::path(put, path = "/api/v1/device-groups/{id}/devices/{device_id}", operation_id = "add_group_device", tag = "device-groups",
    params(("id" = DeviceGroupId, Path, description = "The group"), ("device_id" = DeviceId, Path, description = "The device")),
    responses((status = 204, description = "It is in the group")),
    extensions(("x-fleet-permission" = json!("device-groups:write")), ("x-fleet-audit" = json!("device_group.members.add"))))]
pub(super) async fn add_group_device(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path((id, device)): Path<(DeviceGroupId, DeviceId)>,
) -> ApiResult<StatusCode> {
    fleet.device_groups().add_members(&caller, id, &[device]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a device out of a group. Doing it again changes nothing.
#[utoipa::path(delete, path = "/api/v1/device-groups/{id}/devices/{device_id}", operation_id = "remove_group_device", tag = "device-groups",
    params(("id" = DeviceGroupId, Path, description = "The group"), ("device_id" = DeviceId, Path, description = "The device")),
    responses((status = 204, description = "It is not in the group")),
    extensions(("x-fleet-permission" = json!("device-groups:write")), ("x-fleet-audit" = json!("device_group.members.remove"))))]
pub(super) async fn remove_group_device(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path((id, device)): Path<(DeviceGroupId, DeviceId)>,
) -> ApiResult<StatusCode> {
    fleet.device_groups().remove_members(&caller, id, &[device]).await?;
    Ok(StatusCode::NO_CONTENT)
}
