//! A run's output as a file.
//!
//! A route for each form: what generates clients takes one media type per answer.

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use fleet_core::{
    Fleet,
    access::Context,
    protocol::OutputStream,
    work::{
        RunId,
        output::{OutputDownload, OutputFormat},
    },
};
use futures::{Stream, stream};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    extract::{Path, Query},
    problem::ApiResult,
    state::Caller,
};

/// How much of the output it is.
const EXTENT: &str = "x-fleet-output";

/// Which output.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct DownloadParams {
    /// Only these streams; all by default, as they came.
    stream: Vec<OutputStream>,
}

/// Download a run's output as plain text.
///
/// All streams as they came, or those that are asked for; of a run that has not ended what there is so far. Where output is missing a line
/// in brackets says so.
#[utoipa::path(get, path = "/api/v1/runs/{id}/output/text", operation_id = "download_run_text", tag = "runs",
    params(("id" = RunId, Path, description = "The run"), DownloadParams),
    responses((status = 200, description = "The output", body = String, content_type = "text/plain", headers(
        ("X-Fleet-Output" = String, description = "How much of it this is: `complete`, `cut`, or `so_far` while the run goes on"),
        ("Content-Disposition" = String, description = "The name of a file for it")))),
    extensions(("x-fleet-permission" = json!("runs:read"))))]
pub(super) async fn download_run_text(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<RunId>,
    Query(params): Query<DownloadParams>,
) -> ApiResult<Response> {
    download(&fleet, &caller, id, OutputFormat::Text, params).await
}

/// Download a run's output as lines of JSON, a chunk each.
///
/// As the text, but each chunk with its sequence and stream: a number that is left out is a chunk that is missing, or of a stream that was
/// not asked for.
#[utoipa::path(get, path = "/api/v1/runs/{id}/output/ndjson", operation_id = "download_run_ndjson", tag = "runs",
    params(("id" = RunId, Path, description = "The run"), DownloadParams),
    responses((status = 200, description = "The output", body = String, content_type = "application/x-ndjson", headers(
        ("X-Fleet-Output" = String, description = "How much of it this is: `complete`, `cut`, or `so_far` while the run goes on"),
        ("Content-Disposition" = String, description = "The name of a file for it")))),
    extensions(("x-fleet-permission" = json!("runs:read")), ("x-fleet-stream" = json!("ChunkView"))))]
pub(super) async fn download_run_ndjson(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<RunId>,
    Query(params): Query<DownloadParams>,
) -> ApiResult<Response> {
    download(&fleet, &caller, id, OutputFormat::Ndjson, params).await
}

async fn download(
    fleet: &Fleet,
    caller: &Context,
    id: RunId,
    format: OutputFormat,
    params: DownloadParams,
) -> ApiResult<Response> {
    let output = fleet.output();
    let download = output.download(caller, id, format, &params.stream).await?;
    let headers = [
        (header::CONTENT_TYPE.as_str(), download.media_type().to_owned()),
        (
            header::CONTENT_DISPOSITION.as_str(),
            format!("attachment; filename=\"{}\"", download.file_name()),
        ),
        (EXTENT, download.extent().name().to_owned()),
    ];
    Ok((headers, Body::from_stream(pieces(download))).into_response())
}

/// The pieces; what goes wrong breaks the body off, so that nobody takes half of it for all.
fn pieces(download: OutputDownload) -> impl Stream<Item = Result<String, std::io::Error>> {
    stream::unfold(Some(download), |download| async move {
        let mut download = download?;
        match download.next().await {
            Ok(piece) => Some((Ok(piece?), Some(download))),
            Err(error) => {
                tracing::error!(error = error.log(), "a download of output broke off");
                Some((Err(std::io::Error::other("the output could not be read")), None))
            }
        }
    })
}
