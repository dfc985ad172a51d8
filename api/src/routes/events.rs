//! Live events.

use axum::{extract::State, response::Response};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::NoParams;
use crate::{
    extract::Query,
    live::{LastEventId, StreamLimits, answer},
    problem::ApiResult,
    router::Routes,
    state::{ApiState, Caller},
};

/// The routes of live events.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new(),
        waiting: OpenApiRouter::new().routes(routes!(stream_events)),
    }
}

/// Follow what changes.
///
/// A stream of server-sent events, each a live event in JSON. It tells what the caller may see, and only that something
/// changed: read it again where it is shown. It ends after half an hour, and when what the caller may do changes; a client
/// comes back with `Last-Event-ID` and is told what it missed, or to read again.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "stream_events", tag = "events",
    params(("Last-Event-ID" = Option<String>, Header, description = "The last event that was received")),
    responses((status = 200, description = "The stream", body = String, content_type = "text/event-stream")),
    extensions(("x-fleet-permission" = json!("signed-in")), ("x-fleet-stream" = json!("LiveEvent"))))]
async fn stream_events(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    LastEventId(after): LastEventId,
    Query(NoParams {}): Query<NoParams>,
) -> ApiResult<Response> {
    let key = caller.session().or(caller.actor().id()).unwrap_or_default();
    let (slot, subscription) = state.live.subscribe(key, after)?;
    Ok(answer(subscription, StreamLimits::default(), slot, move |item| {
        item.told_to(&caller)
    }))
}
