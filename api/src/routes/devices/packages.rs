//! Packages, of one device and over all.

use axum::extract::State;
use fleet_core::{
    Fleet,
    devices::{
        DeviceId,
        inventory::{FleetPackageView, PackageFilter, PackageQuestion, PackageView},
    },
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::DevicePage;
use crate::{
    extract::{Json, List, PageParams, Path},
    page_schema,
    problem::ApiResult,
    state::Caller,
};

page_schema!(
    /// A page of packages of a device.
    PackagePage,
    PackageView
);
page_schema!(
    /// A page of packages over all devices.
    FleetPackagePage,
    FleetPackageView
);

/// Which packages of a device; all conditions hold together.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct DevicePackageParams {
    /// A part of the name.
    search: Option<String>,
    /// Only those that have, or have not, an available version that would be installed.
    updates: Option<bool>,
    /// Only those whose available version comes, or does not come, from a security archive.
    security: Option<bool>,
    /// Only those that are, or are not, kept at their version.
    held: Option<bool>,
}

/// List the packages of a device, by name.
#[utoipa::path(get, path = "/api/v1/devices/{id}/packages", operation_id = "list_device_packages", tag = "packages",
    params(("id" = DeviceId, Path, description = "The device"), DevicePackageParams, PageParams),
    responses((status = 200, description = "A page of packages", body = PackagePage)),
    extensions(("x-fleet-permission" = json!("devices:read"))))]
pub(super) async fn list_device_packages(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
    list: List<DevicePackageParams>,
) -> ApiResult<Json<PackagePage>> {
    let DevicePackageParams {
        search,
        updates,
        security,
        held,
    } = list.filter;
    let filter = PackageFilter {
        search,
        updates,
        security,
        held,
    };
    let page = fleet.inventory().packages(&caller, id, &filter, &list.page).await?;
    Ok(Json(page.into()))
}

/// Which packages.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct PackageParams {
    /// What the name begins with.
    search: Option<String>,
}

/// List the packages of all devices, by name.
#[utoipa::path(get, path = "/api/v1/packages", operation_id = "list_packages", tag = "packages", params(PackageParams, PageParams),
    responses((status = 200, description = "A page of packages with their versions", body = FleetPackagePage)),
    extensions(("x-fleet-permission" = json!("devices:read"))))]
pub(super) async fn list_packages(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<PackageParams>,
) -> ApiResult<Json<FleetPackagePage>> {
    let search = list.filter.search.as_deref();
    let page = fleet.inventory().fleet_packages(&caller, search, &list.page).await?;
    Ok(Json(page.into()))
}

/// In which version.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct VersionParams {
    /// Only in exactly this version.
    version: Option<String>,
    /// Only in versions below this one, by the package manager's own order.
    below: Option<String>,
}

/// List the devices that have a package, by name.
#[utoipa::path(get, path = "/api/v1/packages/{manager}/{name}/devices", operation_id = "list_package_devices", tag = "packages",
    params(("manager" = String, Path, description = "The package manager, such as dpkg"), ("name" = String, Path, description = "The package"),
        VersionParams, PageParams),
    responses((status = 200, description = "A page of devices", body = DevicePage)),
    extensions(("x-fleet-permission" = json!("devices:read"))))]
pub(super) async fn list_package_devices(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path((manager, name)): Path<(String, String)>,
    list: List<VersionParams>,
) -> ApiResult<Json<DevicePage>> {
    let question = PackageQuestion {
        name,
        manager: Some(manager),
        version: list.filter.version,
        below: list.filter.below,
    };
    let page = fleet
        .inventory()
        .devices_with_package(&caller, &question, &list.page)
        .await?;
    Ok(Json(page.into()))
}
