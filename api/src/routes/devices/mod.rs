//! Devices: the devices themselves, their groups, inventories and packages, counts, and enrolment tokens.

mod device;
mod fleet;
mod groups;
mod inventory;
mod packages;
pub(super) mod tokens;

use fleet_core::devices::DeviceSummaryView;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::NoParams;
use crate::{page_schema, router::Routes, state::ApiState};

page_schema!(
    /// A page of devices.
    DevicePage,
    DeviceSummaryView
);

/// The routes of devices.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new()
            .routes(routes!(device::list_devices))
            .routes(routes!(
                device::get_device,
                device::update_device,
                device::delete_device
            ))
            .routes(routes!(device::revoke_device))
            .routes(routes!(device::approve_device))
            .routes(routes!(device::reject_device))
            .routes(routes!(device::label_devices))
            .routes(routes!(device::list_device_events))
            .routes(routes!(inventory::list_inventory_sections))
            .routes(routes!(inventory::get_inventory_section))
            .routes(routes!(packages::list_device_packages))
            .routes(routes!(packages::list_packages))
            .routes(routes!(packages::list_package_devices))
            .routes(routes!(groups::list_device_groups, groups::create_device_group))
            .routes(routes!(
                groups::get_device_group,
                groups::update_device_group,
                groups::delete_device_group
            ))
            .routes(routes!(groups::check_device_group_query))
            .routes(routes!(groups::add_group_device, groups::remove_group_device))
            .routes(routes!(fleet::get_fleet))
            .routes(routes!(tokens::list_enrolment_tokens, tokens::create_enrolment_token))
            .routes(routes!(tokens::create_enrolment_pin))
            .routes(routes!(tokens::get_enrolment_token, tokens::delete_enrolment_token)),
        waiting: OpenApiRouter::new().routes(routes!(groups::evaluate_device_group)),
    }
}
