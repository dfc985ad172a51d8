//! Releases of the agent, as operators see them.

use std::time::Duration;

use axum::{body::Body, extract::State, http::StatusCode};
use bytes::Bytes;
use fleet_core::{
    Fleet,
    agents::{AgentReleaseId, AgentReleaseView, NewAgentRelease, ReleaseFilter},
    kernel::Result,
    protocol::AgentVersion,
};
use futures::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    codes,
    extract::{Json, List, PageParams, Path, Query},
    page_schema,
    problem::{ApiError, ApiResult},
    router::Routes,
    state::{ApiState, Caller},
};

/// How long an upload may take in all.
const UPLOAD: Duration = Duration::from_secs(3_600);
/// How long nothing of it may arrive.
const SILENCE: Duration = Duration::from_secs(60);

page_schema!(
    /// A page of releases of the agent.
    AgentReleasePage,
    AgentReleaseView
);

/// The routes of releases.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new()
            .routes(routes!(list_agent_releases))
            .routes(routes!(get_agent_release))
            .routes(routes!(withdraw_agent_release)),
        // It lasts as long as the program takes to arrive.
        waiting: OpenApiRouter::new().routes(routes!(create_agent_release)),
    }
}

/// Which releases.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct AgentReleaseParams {
    /// Only those for this platform, such as linux-x86_64.
    platform: Option<String>,
}

/// What is said of a program that is uploaded.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct UploadParams {
    /// The version that the program says it is, by Semantic Versioning.
    #[param(value_type = String, example = "1.4.0")]
    version: AgentVersion,
    /// Operating system and processor; what the program's header says when left out.
    #[param(example = "linux-x86_64")]
    #[serde(default)]
    platform: Option<String>,
}

/// List releases of the agent, newest first, with those that were withdrawn.
#[utoipa::path(get, path = "/api/v1/agent-releases", operation_id = "list_agent_releases", tag = "agent-releases", params(AgentReleaseParams, PageParams),
    responses((status = 200, description = "A page of releases", body = AgentReleasePage)),
    extensions(("x-fleet-permission" = json!("agent-releases:read"))))]
async fn list_agent_releases(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    list: List<AgentReleaseParams>,
) -> ApiResult<Json<AgentReleasePage>> {
    let filter = ReleaseFilter {
        platform: list.filter.platform,
    };
    Ok(Json(
        fleet.agent_releases().list(&caller, &filter, &list.page).await?.into(),
    ))
}

/// Show a release of the agent.
#[utoipa::path(get, path = "/api/v1/agent-releases/{id}", operation_id = "get_agent_release", tag = "agent-releases", params(("id" = AgentReleaseId, Path, description = "The release")),
    responses((status = 200, description = "The release", body = AgentReleaseView)),
    extensions(("x-fleet-permission" = json!("agent-releases:read"))))]
async fn get_agent_release(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<AgentReleaseId>,
) -> ApiResult<Json<AgentReleaseView>> {
    Ok(Json(fleet.agent_releases().show(&caller, id).await?))
}

/// Upload a release of the agent: the body is the program, at most 128 MiB.
///
/// It is handed out from then on, to installers and to agents that are told to update. The same program again changes nothing; another one
/// of the same version and platform is refused until the first is withdrawn.
#[utoipa::path(post, path = "/api/v1/agent-releases", operation_id = "create_agent_release", tag = "agent-releases", params(UploadParams),
    request_body(content = String, description = "The program", content_type = "application/octet-stream"),
    responses((status = 201, description = "The release", body = AgentReleaseView), (status = 200, description = "It was there already", body = AgentReleaseView)),
    extensions(("x-fleet-permission" = json!("agent-releases:manage")), ("x-fleet-audit" = json!("agent_release.create"))))]
async fn create_agent_release(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    params: ApiResult<Query<UploadParams>>,
    body: Body,
) -> ApiResult<(StatusCode, Json<AgentReleaseView>)> {
    let releases = fleet.agent_releases();
    releases.check_may_manage(&caller)?;
    let Query(params) = params?;
    let new = NewAgentRelease {
        version: params.version,
        platform: params.platform,
    };
    let created = timeout(UPLOAD, releases.create(&caller, &new, parts(body))).await;
    let (release, is_new) = created.map_err(|_| too_slow())??;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(release)))
}

/// Withdraw a release of the agent: it is handed out no more, and stays in the list. Doing it again changes nothing.
#[utoipa::path(post, path = "/api/v1/agent-releases/{id}/withdraw", operation_id = "withdraw_agent_release", tag = "agent-releases", params(("id" = AgentReleaseId, Path, description = "The release")),
    responses((status = 200, description = "The release as it stands now", body = AgentReleaseView)),
    extensions(("x-fleet-permission" = json!("agent-releases:manage")), ("x-fleet-audit" = json!("agent_release.withdraw"))))]
async fn withdraw_agent_release(
    State(fleet): State<Fleet>,
    Caller(caller): Caller,
    Path(id): Path<AgentReleaseId>,
) -> ApiResult<Json<AgentReleaseView>> {
    Ok(Json(fleet.agent_releases().withdraw(&caller, id).await?))
}

/// The parts of a body as they arrive. One that breaks off, or falls silent, ends with an error.
fn parts(body: Body) -> impl Stream<Item = Result<Bytes>> + Send {
    let broken = |message: &str| codes::BODY_UNREADABLE.error(message);
    stream::unfold(Some(body.into_data_stream()), move |body| async move {
        let mut body = body?;
        match timeout(SILENCE, body.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(part))) => Some((Ok(part), Some(body))),
            Ok(Some(Err(_))) => Some((Err(broken("the body broke off")), None)),
            Err(_) => Some((Err(broken("nothing of the body arrived for a minute")), None)),
        }
    })
}

fn too_slow() -> ApiError {
    ApiError::new(codes::BODY_UNREADABLE, "the body took longer than an hour to arrive")
}
