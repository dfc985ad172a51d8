//! What is too large for parameters.

use axum::{body::Body, extract::State, http::StatusCode};
use fleet_core::{Fleet, blobs::BlobView};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::upload;
use crate::{
    extract::Json,
    problem::ApiResult,
    router::Routes,
    state::{ApiState, Caller},
};

/// The routes of blobs.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new(),
        // It lasts as long as the content takes to arrive.
        waiting: OpenApiRouter::new().routes(routes!(create_blob)),
    }
}

/// Upload what is too large for parameters: the body is the content, at most 10 MiB.
///
/// Parameters name it by its digest, such as `content_blob` of `file`. What none name goes after seven days. The same content again is the
/// same blob.
#[utoipa::path(post, path = "/api/v1/blobs", operation_id = "create_blob", tag = "blobs",
    request_body(content = String, description = "The content", content_type = "application/octet-stream"),
    responses((status = 201, description = "The blob", body = BlobView)),
    extensions(("x-fleet-permission" = json!("blobs:upload")), ("x-fleet-audit" = json!("blob.create"))))]
async fn create_blob(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    body: Body,
) -> ApiResult<(StatusCode, Json<BlobView>)> {
    let blobs = fleet.blobs();
    blobs.check_may_upload(&caller)?;
    let blob = upload::whole(blobs.upload(&caller, upload::parts(body))).await?;
    Ok((StatusCode::CREATED, Json(blob)))
}
