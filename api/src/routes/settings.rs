//! Settings.

use axum::extract::State;
use fleet_core::{Fleet, settings::SettingView};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::NoParams;
use crate::{
    extract::{ETag, IfMatch, Json, List, Path},
    page_schema,
    problem::ApiResult,
    router::Routes,
    state::{ApiState, Caller},
};

page_schema!(
    /// All settings, on one page.
    SettingPage,
    SettingView
);

/// The routes of settings.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new().routes(routes!(list_settings)).routes(routes!(
            get_setting,
            set_setting,
            unset_setting
        )),
        waiting: OpenApiRouter::new(),
    }
}

/// List all settings by name, each with the source of its value. They are few: all are on one page.
#[utoipa::path(get, path = "/api/v1/settings", operation_id = "list_settings", tag = "settings",
    responses((status = 200, description = "All settings", body = SettingPage)),
    extensions(("x-fleet-permission" = json!("settings:read"))))]
async fn list_settings(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    // There are few settings, so the one page holds them all whatever its limit.
    _list: List<NoParams>,
) -> ApiResult<Json<SettingPage>> {
    let items = fleet.settings().list(&caller).await?;
    Ok(Json(SettingPage {
        items,
        next: None,
        total: None,
    }))
}

/// Show a setting.
#[utoipa::path(get, path = "/api/v1/settings/{key}", operation_id = "get_setting", tag = "settings",
    params(("key" = String, Path, description = "The setting's name, as `section.key`")),
    responses((status = 200, description = "The setting", body = SettingView, headers(("ETag" = String, description = "The revision of the stored value")))),
    extensions(("x-fleet-permission" = json!("settings:read"))))]
async fn get_setting(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(key): Path<String>,
) -> ApiResult<(ETag, Json<SettingView>)> {
    let setting = fleet.settings().show(&caller, &key).await?;
    Ok((ETag(setting.revision), Json(setting)))
}

/// A value of a setting.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"value": 86_400}))]
#[serde(deny_unknown_fields)]
struct SettingRequest {
    /// The value, of the setting's own type.
    value: Value,
}

/// Store a value. It holds at once, unless flag, environment or file say otherwise.
#[utoipa::path(put, path = "/api/v1/settings/{key}", operation_id = "set_setting", tag = "settings", request_body = SettingRequest,
    params(("key" = String, Path, description = "The setting's name, as `section.key`"),
        ("If-Match" = Option<String>, Header, description = "The revision that the caller saw")),
    responses((status = 200, description = "The setting as it stands now", body = SettingView, headers(("ETag" = String, description = "The revision of the stored value")))),
    extensions(("x-fleet-permission" = json!("settings:write")), ("x-fleet-audit" = json!("setting.set"))))]
async fn set_setting(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(key): Path<String>,
    condition: Option<IfMatch>,
    Json(request): Json<SettingRequest>,
) -> ApiResult<(ETag, Json<SettingView>)> {
    let expected = condition.and_then(IfMatch::revision);
    let setting = fleet.settings().set(&caller, &key, &request.value, expected).await?;
    Ok((ETag(setting.revision), Json(setting)))
}

/// Forget the stored value, so that the default holds again.
#[utoipa::path(delete, path = "/api/v1/settings/{key}", operation_id = "unset_setting", tag = "settings",
    params(("key" = String, Path, description = "The setting's name, as `section.key`"),
        ("If-Match" = Option<String>, Header, description = "The revision that the caller saw")),
    responses((status = 200, description = "The setting as it stands now", body = SettingView, headers(("ETag" = String, description = "The revision of the stored value")))),
    extensions(("x-fleet-permission" = json!("settings:write")), ("x-fleet-audit" = json!("setting.reset"))))]
async fn unset_setting(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(key): Path<String>,
    condition: Option<IfMatch>,
) -> ApiResult<(ETag, Json<SettingView>)> {
    let expected = condition.and_then(IfMatch::revision);
    let setting = fleet.settings().reset(&caller, &key, expected).await?;
    Ok((ETag(setting.revision), Json(setting)))
}
