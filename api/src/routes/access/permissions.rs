//! The permission table.

use axum::extract::State;
use fleet_core::{
    Fleet,
    access::{PermissionEntry, Role},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::NoParams;
use crate::{
    extract::{Json, List},
    page_schema,
    state::Caller,
};

/// One line of the permission table.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PermissionView {
    /// The permission, as `resource:verb`.
    pub permission: String,
    /// What it allows, in a few words.
    pub allows: String,
    /// The least of the built-in roles that has it; those above have it too.
    pub least_role: Role,
}

impl From<&PermissionEntry> for PermissionView {
    fn from(entry: &PermissionEntry) -> Self {
        Self {
            permission: entry.permission.name().to_owned(),
            allows: entry.allows.to_owned(),
            least_role: entry.least,
        }
    }
}

page_schema!(
    /// All permissions, on one page.
    PermissionPage,
    PermissionView
);

/// List the permissions, what each allows, and which roles have it.
#[utoipa::path(get, path = "/api/v1/permissions", operation_id = "list_permissions", tag = "permissions",
    responses((status = 200, description = "All permissions", body = PermissionPage)),
    extensions(("x-fleet-permission" = json!("signed-in"))))]
pub(super) async fn list_permissions(
    State(fleet): State<Fleet>,
    Caller(_caller): Caller,
    // The table is on one page whatever its limit.
    _list: List<NoParams>,
) -> Json<PermissionPage> {
    Json(PermissionPage {
        items: fleet.permissions().iter().map(Into::into).collect(),
        next: None,
        total: None,
    })
}
