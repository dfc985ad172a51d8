//! The store: what it is, checks, backups.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    storage::{Activity, BackupView, StorageView},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::NoParams;
use crate::{
    extract::{Json, List, PageParams},
    page_schema,
    problem::ApiResult,
    router::Routes,
    state::{ApiState, Caller},
};

page_schema!(
    /// A page of backups of the server.
    StorageBackupPage,
    BackupView
);

/// The routes of storage.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new()
            .routes(routes!(get_storage))
            .routes(routes!(check_storage))
            .routes(routes!(list_storage_backups, create_storage_backup)),
        waiting: OpenApiRouter::new(),
    }
}

/// Show the store: backend, contents, what is under way, the last check and the last backup.
#[utoipa::path(get, path = "/api/v1/storage", operation_id = "get_storage", tag = "storage",
    responses((status = 200, description = "The store", body = StorageView)),
    extensions(("x-fleet-permission" = json!("storage:read"))))]
async fn get_storage(State(fleet): State<Fleet>, Caller(caller): Caller) -> ApiResult<Json<StorageView>> {
    Ok(Json(fleet.storage().show(&caller).await?))
}

/// Look for damage in the store. What is found stands in `GET /api/v1/storage` as `last_check`, once the check is over.
#[utoipa::path(post, path = "/api/v1/storage/check", operation_id = "check_storage", tag = "storage",
    responses((status = 202, description = "The check has begun", body = Activity)),
    extensions(("x-fleet-permission" = json!("storage:manage")), ("x-fleet-audit" = json!("storage.check"))))]
async fn check_storage(State(fleet): State<Fleet>, Caller(caller): Caller) -> ApiResult<(StatusCode, Json<Activity>)> {
    Ok((StatusCode::ACCEPTED, Json(fleet.storage().check(&caller).await?)))
}

/// List the backups of this server, newest first.
#[utoipa::path(get, path = "/api/v1/storage/backups", operation_id = "list_storage_backups", tag = "storage", params(PageParams),
    responses((status = 200, description = "A page of backups", body = StorageBackupPage)),
    extensions(("x-fleet-permission" = json!("storage:read"))))]
async fn list_storage_backups(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<NoParams>,
) -> ApiResult<Json<StorageBackupPage>> {
    Ok(Json(fleet.storage().backups(&caller, &list.page).await?.into()))
}

/// Have a backup of this server made, into the folder of the setting `storage.backup_folder`. It is listed once it is over.
#[utoipa::path(post, path = "/api/v1/storage/backups", operation_id = "create_storage_backup", tag = "storage",
    responses((status = 202, description = "The backup has begun", body = Activity)),
    extensions(("x-fleet-permission" = json!("storage:manage")), ("x-fleet-audit" = json!("storage.backup"))))]
async fn create_storage_backup(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
) -> ApiResult<(StatusCode, Json<Activity>)> {
    Ok((StatusCode::ACCEPTED, Json(fleet.storage().back_up(&caller).await?)))
}
