//! The store: what it is, checks, backups, moves.

use axum::{extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    storage::{Activity, BackupView, MovePlan, MoveRequest, StorageMove, StorageView},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::NoParams;
use crate::{
    extract::{Json, List, PageParams, Path},
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

page_schema!(
    /// The moves that this server remembers, on one page.
    StorageMovePage,
    StorageMove
);

/// The routes of storage.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new()
            .routes(routes!(get_storage))
            .routes(routes!(check_storage))
            .routes(routes!(list_storage_backups, create_storage_backup))
            .routes(routes!(list_storage_moves, start_storage_move))
            .routes(routes!(get_storage_move))
            .routes(routes!(cancel_storage_move))
            .routes(routes!(move_storage_back)),
        // It counts everything that there is.
        waiting: OpenApiRouter::new().routes(routes!(plan_storage_move)),
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

/// Say what a move of the store to another backend would do, and what stands in its way.
#[utoipa::path(post, path = "/api/v1/storage/plan", operation_id = "plan_storage_move", tag = "storage", request_body = MoveRequest,
    responses((status = 200, description = "The plan", body = MovePlan)),
    extensions(("x-fleet-permission" = json!("storage:manage")), ("x-fleet-audit" = json!("storage.plan"))))]
async fn plan_storage_move(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(request): Json<MoveRequest>,
) -> ApiResult<Json<MovePlan>> {
    Ok(Json(fleet.storage().plan_move(&caller, &request).await?))
}

/// List the moves that this server made since it was started, newest first. They are few: all are on one page.
#[utoipa::path(get, path = "/api/v1/storage/moves", operation_id = "list_storage_moves", tag = "storage",
    responses((status = 200, description = "The moves", body = StorageMovePage)),
    extensions(("x-fleet-permission" = json!("storage:read"))))]
async fn list_storage_moves(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    _list: List<NoParams>,
) -> ApiResult<Json<StorageMovePage>> {
    let items = fleet.storage().moves(&caller).await?;
    Ok(Json(StorageMovePage {
        items,
        next: None,
        total: None,
    }))
}

/// Begin to move the store to another backend while the server goes on. When the move is done, the server serves from there; at its
/// next start it has to be given the new URI. Into the store that the data came from, this is the way back.
#[utoipa::path(post, path = "/api/v1/storage/moves", operation_id = "start_storage_move", tag = "storage", request_body = MoveRequest,
    responses((status = 202, description = "The move has begun", body = StorageMove)),
    extensions(("x-fleet-permission" = json!("storage:manage")), ("x-fleet-audit" = json!("storage.move"))))]
async fn start_storage_move(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(request): Json<MoveRequest>,
) -> ApiResult<(StatusCode, Json<StorageMove>)> {
    let begun = fleet.storage().start_move(&caller, &request).await?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// Show how far a move is.
#[utoipa::path(get, path = "/api/v1/storage/moves/{id}", operation_id = "get_storage_move", tag = "storage",
    params(("id" = Uuid, Path, description = "The move")),
    responses((status = 200, description = "The move", body = StorageMove)),
    extensions(("x-fleet-permission" = json!("storage:read"))))]
async fn get_storage_move(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<Uuid>,
) -> ApiResult<Json<StorageMove>> {
    Ok(Json(fleet.storage().show_move(&caller, id).await?))
}

/// Give up a move that is under way: the target is emptied, the server goes on where it was. A move that is over stays as it is.
#[utoipa::path(post, path = "/api/v1/storage/moves/{id}/cancel", operation_id = "cancel_storage_move", tag = "storage",
    params(("id" = Uuid, Path, description = "The move")),
    responses((status = 200, description = "The move, which ends soon", body = StorageMove)),
    extensions(("x-fleet-permission" = json!("storage:manage")), ("x-fleet-audit" = json!("storage.move.cancel"))))]
async fn cancel_storage_move(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<Uuid>,
) -> ApiResult<Json<StorageMove>> {
    Ok(Json(fleet.storage().cancel_move(&caller, id).await?))
}

/// Begin to move back to where the data was before a move that this server made. What was written since is carried.
#[utoipa::path(post, path = "/api/v1/storage/moves/{id}/back", operation_id = "move_storage_back", tag = "storage",
    params(("id" = Uuid, Path, description = "The move to take back")),
    responses((status = 202, description = "The move back has begun", body = StorageMove)),
    extensions(("x-fleet-permission" = json!("storage:manage")), ("x-fleet-audit" = json!("storage.move"))))]
async fn move_storage_back(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<Uuid>,
) -> ApiResult<(StatusCode, Json<StorageMove>)> {
    let begun = fleet.storage().move_back(&caller, id).await?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}
