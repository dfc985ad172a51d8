//! The routes: one file for each module of the domain, of the same name. They take a request apart, call one use case and
//! put the answer together.

mod access;
mod agent;
mod agents;
mod blobs;
mod certificates;
mod desired;
mod devices;
mod document;
mod escrow;
mod events;
mod install;
mod settings;
mod storage;
mod tries;
mod upload;
mod windows;
mod work;

pub use agent::{Messages, serve_agent};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use crate::{router::Routes, state::ApiState};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "fleet",
        description = "Knows every device of a fleet, runs work on it and tells people when something is wrong.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    security(("bearer" = [])),
    components(schemas(crate::live::LiveEvent, crate::problem::Problem)),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token of a session or an API key."))
            .build();
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// A list without a filter, and a route that takes no parameters.
#[derive(Debug, Default, serde::Deserialize)]
struct NoParams {}

/// All routes of the server.
pub(crate) fn all(state: &ApiState) -> Routes {
    let Routes { ordinary, waiting } = parts();
    Routes {
        ordinary: ordinary.with_state(state.clone()),
        waiting: waiting.with_state(state.clone()),
    }
}

/// The routes of agents alone, for their own TLS port.
pub(crate) fn of_agents(state: &ApiState) -> Routes {
    let Routes { ordinary, waiting } = agent::routes();
    Routes {
        ordinary: ordinary.with_state(state.clone()),
        waiting: waiting.with_state(state.clone()),
    }
}

/// What the document says of them, before it is normalised.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    let Routes { ordinary, waiting } = parts();
    let mut openapi = ordinary.into_openapi();
    openapi.merge(waiting.into_openapi());
    openapi.merge(crate::health::openapi());
    openapi
}

fn parts() -> Routes<ApiState> {
    let mut ordinary = OpenApiRouter::with_openapi(Document::openapi());
    let mut waiting = OpenApiRouter::new();
    for part in [
        access::routes(),
        agent::routes(),
        agents::routes(),
        blobs::routes(),
        certificates::routes(),
        devices::routes(),
        document::routes(),
        escrow::routes(),
        events::routes(),
        install::routes(),
        settings::routes(),
        storage::routes(),
        windows::routes(),
        desired::routes(),
        work::routes(),
    ] {
        ordinary = ordinary.merge(part.ordinary);
        waiting = waiting.merge(part.waiting);
    }
    Routes { ordinary, waiting }
}
