//! Desired state: actions, action sets, definitions, assignments, and what follows for a device.

mod actions;
mod assignments;
mod definitions;
mod devices;
mod sets;

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{router::Routes, state::ApiState};

/// Which of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct NameParams {
    /// What the name begins with, without regard to case.
    search: Option<String>,
    /// Whether only those are wanted to which no assignment leads, neither to themselves nor to what holds them. Then a page may hold fewer than
    /// its limit and not be the last.
    #[param(default = false)]
    unassigned: bool,
}

/// How something is deleted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct DeleteParams {
    /// Whether it is taken out of what names it, and its assignments are taken back.
    force: bool,
}

/// The routes of desired state.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new()
            .routes(routes!(actions::list_actions, actions::create_action))
            .routes(routes!(
                actions::get_action,
                actions::update_action,
                actions::delete_action
            ))
            .routes(routes!(sets::list_action_sets, sets::create_action_set))
            .routes(routes!(
                sets::get_action_set,
                sets::update_action_set,
                sets::delete_action_set
            ))
            .routes(routes!(definitions::list_definitions, definitions::create_definition))
            .routes(routes!(
                definitions::get_definition,
                definitions::update_definition,
                definitions::delete_definition
            ))
            .routes(routes!(assignments::list_assignments, assignments::create_assignments))
            .routes(routes!(
                assignments::get_assignment,
                assignments::update_assignment,
                assignments::delete_assignment
            ))
            .routes(routes!(devices::get_device_manifest))
            .routes(routes!(devices::list_device_manifest_events))
            .routes(routes!(devices::explain_device_actions))
            .routes(routes!(devices::get_device_owners, devices::set_device_owners))
            .routes(routes!(devices::list_device_available))
            .routes(routes!(devices::set_device_selection)),
        waiting: OpenApiRouter::new(),
    }
}
