//! Inventories of devices.

use axum::extract::State;
use fleet_core::{
    Fleet,
    devices::{
        DeviceId,
        inventory::{InventorySectionView, Section},
    },
};

use super::NoParams;
use crate::{
    extract::{ETag, Json, List, Path},
    page_schema,
    problem::ApiResult,
    state::Caller,
};

page_schema!(
    /// The sections of an inventory, all on one page.
    InventorySectionPage,
    InventorySectionView
);

/// List the sections of a device's inventory, without their bodies.
#[utoipa::path(get, path = "/api/v1/devices/{id}/inventory", operation_id = "list_inventory_sections", tag = "inventory",
    params(("id" = DeviceId, Path, description = "The device")),
    responses((status = 200, description = "All sections that the device has reported", body = InventorySectionPage)),
    extensions(("x-fleet-permission" = json!("devices:read"))))]
pub(super) async fn list_inventory_sections(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<DeviceId>,
    // There are few sections, so the one page holds them all whatever its limit.
    _list: List<NoParams>,
) -> ApiResult<Json<InventorySectionPage>> {
    let items = fleet.inventory().sections(&caller, id).await?;
    Ok(Json(InventorySectionPage {
        items,
        next: None,
        total: None,
    }))
}

/// Show a section of a device's inventory.
///
/// The body is what the device reported; of packages all but the list, which has a route of its own.
#[utoipa::path(get, path = "/api/v1/devices/{id}/inventory/{section}", operation_id = "get_inventory_section", tag = "inventory",
    params(("id" = DeviceId, Path, description = "The device"), ("section" = Section, Path, description = "The section")),
    responses((status = 200, description = "The section", body = InventorySectionView, headers(("ETag" = String, description = "The section's revision")))),
    extensions(("x-fleet-permission" = json!("devices:read"))))]
pub(super) async fn get_inventory_section(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path((id, section)): Path<(DeviceId, Section)>,
) -> ApiResult<(ETag, Json<InventorySectionView>)> {
    let section = fleet.inventory().section(&caller, id, section).await?;
    Ok((ETag(section.revision), Json(section)))
}
