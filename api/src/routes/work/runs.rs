//! Runs and their output.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use fleet_core::{
    Fleet,
    devices::DeviceId,
    kernel::Timestamp,
    work::{
        BatchId, BatchView, RunFilter, RunId, RunView, State as RunState,
        batch::batch_id_for_key,
        desired::ActionId,
        output::{ChunkView, OutputWatch, Seen},
        run::{CancelledRuns, Period, RunEvent},
    },
};
use futures::{Stream, stream};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::{
    codes,
    extract::{ETag, IdempotencyKey, Json, List, PageParams, Path, Query},
    page_schema,
    problem::{ApiError, ApiResult},
    routes::NoParams,
    state::Caller,
};

page_schema!(
    /// A page of runs.
    RunPage,
    RunView
);
page_schema!(
    /// A page of a run's output.
    ChunkPage,
    ChunkView
);
page_schema!(
    /// A page of a run's moves.
    RunEventPage,
    RunEvent
);

/// Which runs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct RunParams {
    /// Only of this device.
    device: Option<DeviceId>,
    /// Only of this batch.
    batch: Option<BatchId>,
    /// Only in one of these states.
    state: Vec<RunState>,
    /// Only of this kind of operation.
    operation: Option<String>,
    /// Only those that devices began by themselves for this action.
    action: Option<ActionId>,
    /// Only those that were created from this time on.
    from: Option<Timestamp>,
    /// Only those that were created before this time.
    to: Option<Timestamp>,
    /// Only those that ended from this time on.
    finished_from: Option<Timestamp>,
    /// Only those that ended before this time.
    finished_to: Option<Timestamp>,
    /// Whether to count all that match; costs time on long lists.
    #[param(default = false)]
    count: bool,
}

/// List runs, newest first.
#[utoipa::path(get, path = "/api/v1/runs", operation_id = "list_runs", tag = "runs", params(RunParams, PageParams),
    responses((status = 200, description = "A page of runs", body = RunPage)),
    extensions(("x-fleet-permission" = json!("runs:read"))))]
pub(super) async fn list_runs(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<RunParams>,
) -> ApiResult<Json<RunPage>> {
    let RunParams {
        device,
        batch,
        state,
        operation,
        action,
        from,
        to,
        finished_from,
        finished_to,
        count,
    } = list.filter;
    let filter = RunFilter {
        device,
        batch,
        states: state,
        operation,
        action,
        created: Period { from, to },
        finished: Period {
            from: finished_from,
            to: finished_to,
        },
    };
    let page = fleet.runs().list(&caller, &filter, &list.page).await?;
    let total = if count {
        Some(fleet.runs().count(&caller, &filter).await?)
    } else {
        None
    };
    Ok(Json(RunPage { total, ..page.into() }))
}

/// Show a run.
#[utoipa::path(get, path = "/api/v1/runs/{id}", operation_id = "get_run", tag = "runs", params(("id" = RunId, Path, description = "The run")),
    responses((status = 200, description = "The run", body = RunView, headers(("ETag" = String, description = "The run's revision")))),
    extensions(("x-fleet-permission" = json!("runs:read"))))]
pub(super) async fn get_run(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<RunId>,
) -> ApiResult<(ETag, Json<RunView>)> {
    let (run, rev) = fleet.runs().show(&caller, id).await?;
    Ok((ETag(rev), Json(run)))
}

/// Stop a run: at once when no device has it, otherwise as soon as its device hears of it.
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", operation_id = "cancel_run", tag = "runs", params(("id" = RunId, Path, description = "The run")),
    responses((status = 200, description = "The run as it stands now", body = RunView)),
    extensions(("x-fleet-permission" = json!("runs:cancel")), ("x-fleet-audit" = json!("run.cancel"))))]
pub(super) async fn cancel_run(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<RunId>,
) -> ApiResult<Json<RunView>> {
    Ok(Json(fleet.runs().cancel(&caller, id).await?))
}

/// Stop all runs that a device has still to do or is at, whoever asked for them; other devices of their batches go on.
#[utoipa::path(post, path = "/api/v1/devices/{id}/runs/cancel", operation_id = "cancel_device_runs", tag = "runs",
    params(("id" = DeviceId, Path, description = "The device")),
    responses((status = 200, description = "How many were asked to stop", body = CancelledRuns)),
    extensions(("x-fleet-permission" = json!("runs:cancel")), ("x-fleet-audit" = json!("device.runs.cancel"))))]
pub(super) async fn cancel_device_runs(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(device): Path<DeviceId>,
) -> ApiResult<Json<CancelledRuns>> {
    Ok(Json(fleet.runs().cancel_all_of(&caller, device).await?))
}

/// Do once more what a run did, however it ended: a batch of one device, whose `retry_of` is the run's batch. As many have to agree as had to
/// before. It takes the right to that operation, too.
#[utoipa::path(post, path = "/api/v1/runs/{id}/retry", operation_id = "retry_run", tag = "runs",
    params(("id" = RunId, Path, description = "The run"), ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat return the batch that the first request made; known as long as that batch is kept")),
    responses((status = 201, description = "The new batch", body = BatchView)),
    extensions(("x-fleet-permission" = json!("runs:retry")), ("x-fleet-audit" = json!("batch.retry"))))]
pub(super) async fn retry_run(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<RunId>,
    key: Option<IdempotencyKey>,
) -> ApiResult<(StatusCode, Json<BatchView>)> {
    let route = format!("/api/v1/runs/{id}/retry");
    let key = key.map(|key| batch_id_for_key(caller.actor(), &route, key.as_str()));
    let batch = fleet.batches().retry_run(&caller, id, key).await?;
    Ok((StatusCode::CREATED, Json(batch)))
}

/// List a run's output from its beginning.
#[utoipa::path(get, path = "/api/v1/runs/{id}/output", operation_id = "list_run_output", tag = "runs",
    params(("id" = RunId, Path, description = "The run"), PageParams),
    responses((status = 200, description = "A page of output", body = ChunkPage)),
    extensions(("x-fleet-permission" = json!("runs:read"))))]
pub(super) async fn list_run_output(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<RunId>,
    list: List<NoParams>,
) -> ApiResult<Json<ChunkPage>> {
    Ok(Json(fleet.output().page(&caller, id, &list.page).await?.into()))
}

/// List what happened to a run, oldest first.
#[utoipa::path(get, path = "/api/v1/runs/{id}/events", operation_id = "list_run_events", tag = "runs",
    params(("id" = RunId, Path, description = "The run"), PageParams),
    responses((status = 200, description = "A page of moves", body = RunEventPage)),
    extensions(("x-fleet-permission" = json!("runs:read"))))]
pub(super) async fn list_run_events(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<RunId>,
    list: List<NoParams>,
) -> ApiResult<Json<RunEventPage>> {
    Ok(Json(fleet.runs().events(&caller, id, &list.page).await?.into()))
}

/// Where a stream of output begins.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct FromParams {
    /// The first chunk that is wanted; the first one of all by default. `Last-Event-ID` goes before it.
    from: Option<u32>,
}

/// Follow a run's output until it has ended.
///
/// A stream of server-sent events: `chunk` with a chunk, its id the chunk's sequence; `ended` with the run, then the stream
/// closes. A client that was cut off goes on with `Last-Event-ID`.
#[utoipa::path(get, path = "/api/v1/runs/{id}/output/stream", operation_id = "stream_run_output", tag = "runs",
    params(("id" = RunId, Path, description = "The run"), FromParams),
    responses((status = 200, description = "The stream", body = String, content_type = "text/event-stream")),
    extensions(("x-fleet-permission" = json!("runs:read")), ("x-fleet-stream" = json!("ChunkView"))))]
pub(super) async fn stream_run_output(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<RunId>,
    Query(params): Query<FromParams>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let last = headers.get("last-event-id").map(|value| {
        value
            .to_str()
            .ok()
            .and_then(|text| text.parse::<u32>().ok())
            .ok_or_else(|| {
                ApiError::at(
                    codes::PARAMETER_INVALID,
                    "Last-Event-ID",
                    "send the id of an event of this stream",
                )
            })
    });
    let from = match last.transpose()? {
        Some(last) => last.saturating_add(1),
        None => params.from.unwrap_or(0),
    };
    let watch = fleet.output().watch(&caller, id, from).await?;
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15)).text("still here");
    Ok(Sse::new(events(watch)).keep_alive(keep_alive).into_response())
}

fn events(watch: OutputWatch) -> impl Stream<Item = Result<Event, Infallible>> {
    let batches = stream::unfold(watch, |mut watch| async move {
        let events = match watch.next().await {
            Ok(None) => return None,
            Ok(Some(Seen::Chunks(chunks))) => chunks
                .iter()
                .map(|chunk| event("chunk", chunk).id(chunk.sequence.to_string()))
                .collect(),
            Ok(Some(Seen::Ended(run))) => vec![event("ended", &*run)],
            Err(error) => {
                // The stream has begun, so no status can tell; the client comes back and is told then.
                tracing::error!(error = error.log(), "a stream of output broke off");
                return None;
            }
        };
        Some((stream::iter(events.into_iter().map(Ok)), watch))
    });
    futures::StreamExt::flatten(batches)
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // Views are plain data: they always have a JSON form.
    Event::default()
        .event(name)
        .json_data(data)
        .unwrap_or_else(|_| Event::default().comment("unreadable"))
}
