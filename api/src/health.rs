//! Whether the process lives, and whether it can serve. Both are public and say nothing that an attacker could use.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    codes,
    extract::Json,
    problem::{ApiError, ApiResult},
};

/// Says whether the server can serve. Handed in: what must be ready is the server's to know.
#[async_trait]
pub trait Readiness: Send + Sync + 'static {
    /// Asks every part that requests need. Bounded by [`crate::limits::Limits::readiness`].
    async fn parts(&self) -> Vec<PartReadiness>;
}

/// Whether one part of the server is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PartReadiness {
    /// The part, such as `storage`. Public: no address, no path.
    #[schema(example = "storage", value_type = String)]
    pub name: &'static str,
    /// Whether it answers.
    pub ready: bool,
}

/// The process lives.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    #[schema(example = "ok", value_type = String)]
    status: &'static str,
}

/// The server can serve.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Ready {
    /// Always `ready`.
    #[schema(example = "ready", value_type = String)]
    status: &'static str,
    /// What was asked.
    parts: Vec<PartReadiness>,
}

#[derive(Clone)]
struct Asked {
    readiness: Arc<dyn Readiness>,
    patience: Duration,
}

/// The routes `/healthz` and `/readyz`.
pub(crate) fn router(readiness: Arc<dyn Readiness>, patience: Duration) -> OpenApiRouter {
    routes().with_state(Asked { readiness, patience })
}

/// What the document says of them.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<Asked> {
    OpenApiRouter::new()
        .routes(routes!(get_health))
        .routes(routes!(get_readiness))
}

/// Whether the process lives
///
/// Answers as long as the process runs, whatever the state of storage.
#[utoipa::path(
    get, path = "/healthz", operation_id = "get_health", tag = "health", security(()),
    extensions(("x-fleet-permission" = json!("public"))),
    responses((status = 200, description = "The process lives", body = Health)),
)]
async fn get_health() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the server can serve
///
/// For balancers: a server that is not ready should get no requests.
#[utoipa::path(
    get, path = "/readyz", operation_id = "get_readiness", tag = "health", security(()),
    extensions(("x-fleet-permission" = json!("public"))),
    responses((status = 200, description = "The server can serve", body = Ready)),
)]
async fn get_readiness(State(asked): State<Asked>) -> ApiResult<Json<Ready>> {
    let not_ready = || ApiError::new(codes::NOT_READY, "a part that requests need does not answer");
    let parts = tokio::time::timeout(asked.patience, asked.readiness.parts())
        .await
        .map_err(|_| not_ready())?;
    match parts.iter().find(|part| !part.ready) {
        Some(part) => Err(ApiError::at(codes::NOT_READY, part.name, "does not answer")),
        None => Ok(Json(Ready { status: "ready", parts })),
    }
}
