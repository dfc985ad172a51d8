//! What an agent may become, and its program.

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use fleet_core::{
    Fleet,
    agents::RELEASE_NOT_FOUND,
    kernel::Error,
    protocol::{AgentVersion, Sha256Digest, SignedManifest},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::identity::FromDevice;
use crate::{
    extract::{Json, Path, Query},
    problem::ApiResult,
};

/// Which version.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct ManifestParams {
    /// The version; the newest when left out.
    #[param(value_type = Option<String>, example = "1.4.0")]
    version: Option<AgentVersion>,
}

/// Learn what an agent of a platform may become: a manifest, signed by the server's dispatch key, good for an hour.
///
/// The assertion does not cover the query, so the agent compares the version in the manifest with the one that it asked for.
#[utoipa::path(get, path = "/agent/v1/releases/{platform}", operation_id = "get_agent_manifest", tag = "agent",
    params(("platform" = String, Path, description = "Operating system and processor, such as linux-x86_64"), ManifestParams),
    responses((status = 200, description = "The manifest and its signature", body = SignedManifest)),
    security(()), extensions(("x-fleet-permission" = json!("device"))))]
pub(super) async fn get_agent_manifest(
    State(fleet): State<Fleet>,
    Path(platform): Path<String>,
    params: ApiResult<Query<ManifestParams>>,
    _from: FromDevice,
) -> ApiResult<Json<SignedManifest>> {
    let Query(params) = params?;
    let manifest = fleet
        .agent_releases()
        .manifest(&platform, params.version.as_ref())
        .await?;
    Ok(Json(manifest))
}

/// Download a program of the agent that is handed out, by its SHA-256.
#[utoipa::path(get, path = "/agent/v1/binaries/{platform}/{sha256}", operation_id = "download_agent", tag = "agent",
    params(("platform" = String, Path, description = "Operating system and processor, such as linux-x86_64", example = "linux-x86_64"),
        ("sha256" = String, Path, description = "Its SHA-256, in hexadecimal", min_length = 64, max_length = 64)),
    responses((status = 200, description = "The program", body = String, content_type = "application/octet-stream")),
    security(()), extensions(("x-fleet-permission" = json!("public"))))]
pub(super) async fn download_agent(
    State(fleet): State<Fleet>,
    Path((platform, sha256)): Path<(String, String)>,
) -> ApiResult<Response> {
    let sha256 =
        Sha256Digest::parse(&sha256).ok_or_else(|| RELEASE_NOT_FOUND.error("no such agent is handed out here"))?;
    let program = fleet.agent_releases().binary(&platform, sha256).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, program.size_bytes().to_string()),
        // One that is withdrawn is gone.
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let logged = futures::StreamExt::inspect(program, |part| {
        if let Err(error) = part {
            tracing::error!(error = Error::log(error), "a download was cut");
        }
    });
    Ok((headers, Body::from_stream(logged)).into_response())
}
