//! Windows, what follows from them, and what schedules would do.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use fleet_core::{
    Fleet,
    kernel::Timestamp,
    work::{
        schedule::{PreviewRequest, SchedulePreview, preview},
        windows::{
            NewWindow, OccurrenceFilter, OccurrenceView, WindowChange, WindowCheck, WindowDecision, WindowId,
            WindowView,
        },
    },
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{ETag, IfMatch, Json, List, PageParams, Path, Query},
    page_schema,
    problem::ApiResult,
    router::Routes,
    state::{ApiState, Caller, Subscriber},
};

page_schema!(
    /// A page of windows.
    WindowPage,
    WindowView
);
page_schema!(
    /// A page of the times that windows are.
    OccurrencePage,
    OccurrenceView
);

/// The routes of windows and schedules.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new()
            .routes(routes!(list_windows, create_window))
            .routes(routes!(get_window, update_window, delete_window))
            .routes(routes!(list_window_occurrences))
            .routes(routes!(get_window_calendar))
            .routes(routes!(check_window))
            .routes(routes!(preview_schedule)),
        waiting: OpenApiRouter::new(),
    }
}

/// Which windows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct WindowParams {
    /// What the name begins with, without regard to case.
    search: Option<String>,
}

/// List windows, by name.
#[utoipa::path(get, path = "/api/v1/windows", operation_id = "list_windows", tag = "windows", params(WindowParams, PageParams),
    responses((status = 200, description = "A page of windows", body = WindowPage)),
    extensions(("x-fleet-permission" = json!("windows:read"))))]
async fn list_windows(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<WindowParams>,
) -> ApiResult<Json<WindowPage>> {
    let name = list.filter.search.as_deref();
    Ok(Json(fleet.windows().list(&caller, name, &list.page).await?.into()))
}

/// Make a window.
#[utoipa::path(post, path = "/api/v1/windows", operation_id = "create_window", tag = "windows", request_body = NewWindow,
    responses((status = 201, description = "The window", body = WindowView, headers(("ETag" = String, description = "The window's revision")))),
    extensions(("x-fleet-permission" = json!("windows:write")), ("x-fleet-audit" = json!("window.create"))))]
async fn create_window(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(new): Json<NewWindow>,
) -> ApiResult<(StatusCode, ETag, Json<WindowView>)> {
    let window = fleet.windows().create(&caller, &new).await?;
    Ok((StatusCode::CREATED, ETag(window.revision), Json(window)))
}

/// Show a window.
#[utoipa::path(get, path = "/api/v1/windows/{id}", operation_id = "get_window", tag = "windows", params(("id" = WindowId, Path, description = "The window")),
    responses((status = 200, description = "The window", body = WindowView, headers(("ETag" = String, description = "The window's revision")))),
    extensions(("x-fleet-permission" = json!("windows:read"))))]
async fn get_window(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<WindowId>,
) -> ApiResult<(ETag, Json<WindowView>)> {
    let window = fleet.windows().show(&caller, id).await?;
    Ok((ETag(window.revision), Json(window)))
}

/// Change a window; what is absent stays as it is, what is given replaces the whole member.
#[utoipa::path(patch, path = "/api/v1/windows/{id}", operation_id = "update_window", tag = "windows", request_body = WindowChange,
    params(("id" = WindowId, Path, description = "The window"), ("If-Match" = String, Header, description = "The ETag that was read, or *")),
    responses((status = 200, description = "The window as it is now", body = WindowView, headers(("ETag" = String, description = "The window's revision")))),
    extensions(("x-fleet-permission" = json!("windows:write")), ("x-fleet-audit" = json!("window.update"))))]
async fn update_window(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<WindowId>,
    condition: IfMatch,
    Json(change): Json<WindowChange>,
) -> ApiResult<(ETag, Json<WindowView>)> {
    let windows = fleet.windows();
    let window = windows.set(&caller, id, condition.revision(), &change).await?;
    Ok((ETag(window.revision), Json(window)))
}

/// Delete a window. Work that waited for it may begin as the other windows allow.
#[utoipa::path(delete, path = "/api/v1/windows/{id}", operation_id = "delete_window", tag = "windows",
    params(("id" = WindowId, Path, description = "The window"), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204, description = "It is gone")),
    extensions(("x-fleet-permission" = json!("windows:write")), ("x-fleet-audit" = json!("window.delete"))))]
async fn delete_window(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<WindowId>,
    condition: Option<IfMatch>,
) -> ApiResult<StatusCode> {
    let expected = condition.and_then(IfMatch::revision);
    fleet.windows().delete(&caller, id, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which occurrences.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct OccurrenceParams {
    /// Only those that end after this time; now when left out.
    from: Option<Timestamp>,
    /// Only those that start before this time; 90 days after `from` when left out, and at most 366.
    to: Option<Timestamp>,
    /// Only of this window.
    window: Option<WindowId>,
}

impl From<OccurrenceParams> for OccurrenceFilter {
    fn from(params: OccurrenceParams) -> Self {
        let OccurrenceParams { from, to, window } = params;
        Self { from, to, window }
    }
}

/// List when windows are, in the order of their starts; those that are disabled are left out.
#[utoipa::path(get, path = "/api/v1/windows/occurrences", operation_id = "list_window_occurrences", tag = "windows", params(OccurrenceParams, PageParams),
    responses((status = 200, description = "A page of occurrences", body = OccurrencePage)),
    extensions(("x-fleet-permission" = json!("windows:read"))))]
async fn list_window_occurrences(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<OccurrenceParams>,
) -> ApiResult<Json<OccurrencePage>> {
    let filter = list.filter.into();
    Ok(Json(
        fleet.windows().occurrences(&caller, &filter, &list.page).await?.into(),
    ))
}

/// Which calendar.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct CalendarParams {
    /// Only what ends after this time; now when left out.
    from: Option<Timestamp>,
    /// Only what starts before this time; 90 days after `from` when left out, and at most 366.
    to: Option<Timestamp>,
    /// Only this window, and no plans.
    window: Option<WindowId>,
    /// The token of an API key with the purpose `calendar`, for programs that send no `Authorization`.
    #[serde(rename = "token")]
    #[param(rename = "token")]
    _token: Option<String>,
}

/// Get when windows are, and when plans are due, as a calendar (iCalendar, RFC 5545), at most 1,000 occurrences.
///
/// Programs that subscribe to calendars send no header: for them an API key with the purpose `calendar` is the parameter `token`.
#[utoipa::path(get, path = "/api/v1/windows/calendar.ics", operation_id = "get_window_calendar", tag = "windows", params(CalendarParams),
    responses((status = 200, description = "The calendar", body = String, content_type = "text/calendar")),
    extensions(("x-fleet-permission" = json!("windows:read"))))]
async fn get_window_calendar(
    State(fleet): State<Fleet>,
    Subscriber(caller): Subscriber,
    Query(params): Query<CalendarParams>,
) -> ApiResult<Response> {
    let filter = OccurrenceFilter {
        from: params.from,
        to: params.to,
        window: params.window,
    };
    let calendar = fleet.windows().calendar(&caller, &filter).await?;
    let headers = [(header::CONTENT_TYPE, "text/calendar; charset=utf-8")];
    Ok((headers, calendar).into_response())
}

/// Ask whether work may begin on a device, and why.
#[utoipa::path(post, path = "/api/v1/windows/check", operation_id = "check_window", tag = "windows", request_body = WindowCheck,
    responses((status = 200, description = "What follows from all windows", body = WindowDecision)),
    extensions(("x-fleet-permission" = json!("windows:read"))))]
async fn check_window(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Json(check): Json<WindowCheck>,
) -> ApiResult<Json<WindowDecision>> {
    Ok(Json(fleet.windows().check(&caller, &check).await?))
}

/// Ask what a schedule would do: in words, and its next times.
#[utoipa::path(post, path = "/api/v1/schedules/preview", operation_id = "preview_schedule", tag = "schedules", request_body = PreviewRequest,
    responses((status = 200, description = "What it would do", body = SchedulePreview)),
    extensions(("x-fleet-permission" = json!("signed-in"))))]
async fn preview_schedule(
    State(fleet): State<Fleet>,
    Caller(_caller): Caller,
    Json(request): Json<PreviewRequest>,
) -> ApiResult<Json<SchedulePreview>> {
    Ok(Json(preview(&request, fleet.clock().now())?))
}
