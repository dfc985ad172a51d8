//! The installer.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use fleet_core::{
    agents::AgentReleaseView,
    kernel::{Class, Code},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    problem::{ApiError, ApiResult},
    router::Routes,
    state::ApiState,
};

/// The server's public address cannot stand in a script.
const ADDRESS_UNFIT: Code = Code::new("server.public_url_unfit", Class::Unavailable);

const SCRIPT: &str = include_str!("../../../deploy/agent/install.sh");
const UNIT: &str = include_str!("../../../deploy/agent/fleet-agent.service");

/// The routes of the installer.
pub(super) fn routes() -> Routes<ApiState> {
    Routes {
        ordinary: OpenApiRouter::new().routes(routes!(get_installer)),
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
    let releases = state.fleet.agent_releases().newest().await?;
    let script = script(server, &releases);
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

fn script(server: &str, releases: &[AgentReleaseView]) -> String {
    let digests: Vec<_> = releases
        .iter()
        .map(|release| format!("    {}) echo {} ;;", release.platform, release.sha256))
        .collect();
    SCRIPT
        .replace("@SERVER@", server)
        .replace("@DIGESTS@", &digests.join("\n"))
        .replace("@UNIT@", UNIT.trim_end())
}

#[cfg(test)]
mod tests {
    use fleet_core::{
        agents::{AgentReleaseId, ReleaseSource},
        protocol::{AgentVersion, Sha256Digest},
    };

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
        let (platform, sha256) = ("linux-x86_64", Sha256Digest::from_bytes([0xab; 32]));
        let version = AgentVersion::new(1, 4, 0);
        let release = AgentReleaseView {
            id: AgentReleaseId::of(platform, &version, sha256),
            version,
            platform: platform.into(),
            size_bytes: 3,
            sha256,
            source: ReleaseSource::Imported,
            created_by: fleet_core::access::Actor::Anonymous,
            created_at: fleet_core::kernel::Timestamp::EPOCH,
            withdrawn_at: None,
        };
        let script = script("https://fleet.example.org", &[release]);
        assert!(script.contains("server='https://fleet.example.org'\n"));
        assert!(script.contains(&format!("    linux-x86_64) echo {} ;;\n", "ab".repeat(32))));
        assert!(script.contains("RestartPreventExitStatus=78\n"));
        for left in ["@SERVER@", "@DIGESTS@", "@UNIT@"] {
            assert!(!script.contains(left), "{left}");
        }
    }
}
