//! The installer, and the agents that it fetches.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use fleet_core::{
    devices::DEVICES_READ,
    kernel::{Class, Code},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::NoParams;
use crate::{
    binaries::AgentBinary,
    extract::{Json, List, PageParams, Path},
    page_schema,
    problem::{ApiError, ApiResult},
    router::Routes,
    state::{ApiState, Caller},
};

/// There is no agent for this platform here.
const BINARY_NOT_FOUND: Code = Code::new("agent_binary.not_found", Class::NotFound);
/// The server's public address cannot stand in a script.
const ADDRESS_UNFIT: Code = Code::new("server.public_url_unfit", Class::Unavailable);

const SCRIPT: &str = include_str!("../../../deploy/agent/install.sh");
const UNIT: &str = include_str!("../../../deploy/agent/fleet-agent.service");

page_schema!(
    /// The agents that the server hands out, on one page.
    AgentBinaryPage,
    AgentBinary
);

/// The routes of the installer.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new()
            .routes(routes!(get_installer))
            .routes(routes!(list_agent_binaries))
            .routes(routes!(download_agent)),
        waiting: OpenApiRouter::new(),
    }
}

/// Get the installer of agents: a script for sh that names this server and what its agents are, and holds no secret.
#[utoipa::path(get, path = "/install.sh", operation_id = "get_installer", tag = "agent",
    responses((status = 200, description = "The script", body = String, content_type = "text/x-shellscript")),
    security(()), extensions(("x-fleet-permission" = json!("public"))))]
async fn get_installer(State(state): State<ApiState>) -> ApiResult<Response> {
    let server = state.config.public_url.trim_end_matches('/');
    if !fits_script(server) {
        return Err(ApiError::new(
            ADDRESS_UNFIT,
            "the server's public address is not set, or not one that a script can name",
        ));
    }
    let binaries = state.config.agent_binaries.list().await.map_err(ApiError::internal)?;
    let script = script(server, &binaries);
    let headers = [
        (header::CONTENT_TYPE, "text/x-shellscript; charset=utf-8"),
        // It names digests of this moment.
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, script).into_response())
}

/// Between quotes of a shell, and nowhere else than where it belongs.
fn fits_script(server: &str) -> bool {
    let rest = server
        .strip_prefix("https://")
        .or_else(|| server.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".:/-_~[]%".contains(&byte))
    })
}

fn script(server: &str, binaries: &[AgentBinary]) -> String {
    let digests: Vec<_> = binaries
        .iter()
        .map(|binary| format!("    {}) echo {} ;;", binary.platform, binary.sha256))
        .collect();
    SCRIPT
        .replace("@SERVER@", server)
        .replace("@DIGESTS@", &digests.join("\n"))
        .replace("@UNIT@", UNIT.trim_end())
}

/// List the agents that the server hands out, by platform.
#[utoipa::path(get, path = "/api/v1/agent-binaries", operation_id = "list_agent_binaries", tag = "devices", params(PageParams),
    responses((status = 200, description = "All of them", body = AgentBinaryPage)),
    extensions(("x-fleet-permission" = json!("devices:read"))))]
async fn list_agent_binaries(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    _list: List<NoParams>,
) -> ApiResult<Json<AgentBinaryPage>> {
    caller.require(DEVICES_READ)?;
    let items = state.config.agent_binaries.list().await.map_err(ApiError::internal)?;
    Ok(Json(fleet_core::kernel::Page { items, next: None }.into()))
}

/// Download the agent for a platform.
#[utoipa::path(get, path = "/agent/v1/binaries/{platform}", operation_id = "download_agent", tag = "agent",
    params(("platform" = String, Path, description = "Operating system and processor, such as linux-x86_64", example = "linux-x86_64")),
    responses((status = 200, description = "The program", body = String, content_type = "application/octet-stream")),
    security(()), extensions(("x-fleet-permission" = json!("public"))))]
async fn download_agent(State(state): State<ApiState>, Path(platform): Path<String>) -> ApiResult<Response> {
    let found = state
        .config
        .agent_binaries
        .body(&platform)
        .await
        .map_err(ApiError::internal)?;
    let (size, body) =
        found.ok_or_else(|| ApiError::new(BINARY_NOT_FOUND, "this server has no agent for this platform"))?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(server: &str, fits: bool) {
        assert_eq!(fits_script(server), fits, "{server}");
    }

    #[test]
    fn an_address_cannot_leave_its_quotes() {
        check("https://fleet.example.org", true);
        check("http://[::1]:8080/fleet", true);
        for bad in [
            "",
            "https://",
            "https://a'; rm -rf /'",
            "https://$(id)",
            "https://a b",
            "ftp://a",
            "https://a\nb",
        ] {
            check(bad, false);
        }
    }

    #[test]
    fn the_script_names_the_server_and_what_it_hands_out() {
        let binary = AgentBinary {
            platform: "linux-x86_64".into(),
            size_bytes: 3,
            sha256: "ab".repeat(32),
            modified_at: fleet_core::kernel::Timestamp::EPOCH,
        };
        let script = script("https://fleet.example.org", &[binary]);
        assert!(script.contains("server='https://fleet.example.org'\n"));
        assert!(script.contains(&format!("    linux-x86_64) echo {} ;;\n", "ab".repeat(32))));
        assert!(script.contains("RestartPreventExitStatus=78\n"));
        for left in ["@SERVER@", "@DIGESTS@", "@UNIT@"] {
            assert!(!script.contains(left), "{left}");
        }
    }
}
