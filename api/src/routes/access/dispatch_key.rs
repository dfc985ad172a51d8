//! The key that signs work.

use axum::extract::State;
use fleet_core::{Fleet, access::server_keys::DispatchKey};

use crate::{extract::Json, problem::ApiResult, state::Caller};

/// Show the key that signs work: its public half, and since when.
#[utoipa::path(get, path = "/api/v1/dispatch-key", operation_id = "get_dispatch_key", tag = "dispatch-key",
    responses((status = 200, description = "The key as it stands", body = DispatchKey)),
    extensions(("x-fleet-permission" = json!("dispatch-key:read"))))]
pub(super) async fn get_dispatch_key(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
) -> ApiResult<Json<DispatchKey>> {
    Ok(Json(fleet.keys().show_dispatch(&caller).await?))
}

/// Let the key that signs work hand over to another now, as it does by itself once a year.
///
/// Agents follow by what the former key signed, also those that are away: the last 64 handovers are kept, and a key signs for at least a
/// day. It is of no use against somebody who has the former key.
#[utoipa::path(post, path = "/api/v1/dispatch-key/rotate", operation_id = "rotate_dispatch_key", tag = "dispatch-key",
    responses((status = 200, description = "The key that signs from now on", body = DispatchKey)),
    extensions(("x-fleet-permission" = json!("dispatch-key:rotate")), ("x-fleet-audit" = json!("server_key.rotate"))))]
pub(super) async fn rotate_dispatch_key(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
) -> ApiResult<Json<DispatchKey>> {
    Ok(Json(fleet.keys().rotate(&caller).await?))
}
