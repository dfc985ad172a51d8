//! Releases of the agent, as operators see them.

use axum::{body::Body, extract::State, http::StatusCode};
use fleet_core::{
    Fleet,
    agents::{AgentReleaseId, AgentReleaseView, NewAgentRelease, ReleaseFilter},
    protocol::AgentVersion,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::upload;
use crate::{
    extract::{Json, List, PageParams, Path, Query},
    page_schema,
    problem::ApiResult,
    router::Routes,
    state::{ApiState, Caller},
};

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
    let (release, is_new) = upload::whole(releases.create(&caller, &new, upload::parts(body))).await?;
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
