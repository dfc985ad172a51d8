//! What is too large for parameters, for the devices that are to have it.

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use fleet_core::{
    Fleet,
    blobs::{BLOB_NOT_FOUND, BlobDigest},
    kernel::Error,
};

use super::identity::FromDevice;
use crate::{extract::Path, problem::ApiResult};

/// Download a content that parameters name, by its BLAKE3: who knows that has it from such parameters.
#[utoipa::path(get, path = "/agent/v1/blobs/{digest}", operation_id = "download_blob", tag = "agent",
    params(("digest" = String, Path, description = "Its BLAKE3, in hexadecimal", min_length = 64, max_length = 64)),
    responses((status = 200, description = "The content", body = String, content_type = "application/octet-stream")),
    security(()), extensions(("x-fleet-permission" = json!("device"))))]
pub(super) async fn download_blob(
    State(fleet): State<Fleet>,
    Path(digest): Path<String>,
    _from: FromDevice,
) -> ApiResult<Response> {
    let digest = BlobDigest::parse(&digest).ok_or_else(|| BLOB_NOT_FOUND.error("there is no such blob"))?;
    let content = fleet.blobs().content(digest).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, content.size_bytes().to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let logged = futures::StreamExt::inspect(content, |part| {
        if let Err(error) = part {
            tracing::error!(error = Error::log(error), "a download was cut");
        }
    });
    Ok((headers, Body::from_stream(logged)).into_response())
}
