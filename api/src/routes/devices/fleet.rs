//! The fleet at a glance.

use axum::extract::State;
use fleet_core::{Fleet, devices::device::FleetCounts, work::RunCounts};
use serde::Serialize;
use utoipa::ToSchema;

use super::NoParams;
use crate::{
    extract::{Json, Query},
    problem::ApiResult,
    state::Caller,
};

/// The fleet at a glance.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FleetView {
    /// Devices.
    #[serde(flatten)]
    pub devices: FleetCounts,
    /// Runs that have not ended; null for who may not see runs.
    pub runs: Option<RunCounts>,
}

/// Count devices and runs.
#[utoipa::path(get, path = "/api/v1/fleet", operation_id = "get_fleet", tag = "fleet",
    responses((status = 200, description = "The counts", body = FleetView)),
    extensions(("x-fleet-permission" = json!("devices:read"))))]
pub(super) async fn get_fleet(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Query(NoParams {}): Query<NoParams>,
) -> ApiResult<Json<FleetView>> {
    let devices = fleet.devices().counts(&caller).await?;
    let runs = if caller.require(fleet_core::work::RUNS_READ).is_ok() {
        Some(fleet.runs().counts(&caller).await?)
    } else {
        None
    };
    Ok(Json(FleetView { devices, runs }))
}
