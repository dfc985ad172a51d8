//! A small server: one well-behaved resource and a handful of bad days.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may panic; clippy.toml allows it only in the tests themselves"
)]

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::DefaultBodyLimit,
    http::{Request, Response, StatusCode},
};
use fleet_api::{
    extract::{ETag, IfMatch, Json, List, PageParams, Path, RequestContext},
    health::{PartReadiness, Readiness},
    limits::Limits,
    problem::{ApiError, ApiResult},
    router::{Routes, Stack},
};
use fleet_core::{
    devices::DeviceId as ThingId,
    kernel::{Error, ManualClock, PRECONDITION_FAILED, Page, SeededRandom, Timestamp},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower::ServiceExt as _;
use utoipa::{IntoParams, ToSchema, openapi::OpenApi};
use utoipa_axum::{router::OpenApiRouter, routes};

/// A thing.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Thing {
    /// Which one.
    id: ThingId,
    /// What people call it.
    name: String,
    /// Where it is, if anybody knows.
    site: Option<String>,
}

fleet_api::page_schema!(
    /// A page of things.
    ThingPage,
    Thing
);

/// A new thing.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"name": "lamp", "size_bytes": 1}))]
#[serde(deny_unknown_fields)]
struct NewThing {
    /// What people call it.
    name: String,
    /// How large it is.
    size_bytes: u32,
}

/// Which things.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ThingFilter {
    /// Only these states.
    #[serde(default)]
    #[param(required = false)]
    state: Vec<String>,
}

pub const LAMP: &str = "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41";

fn lamp(name: &str) -> Thing {
    Thing {
        id: LAMP.parse().unwrap(),
        name: name.to_owned(),
        site: None,
    }
}

/// List things
#[utoipa::path(get, path = "/api/v1/things", operation_id = "list_things", tag = "things",
    extensions(("x-fleet-permission" = json!("things:read"))),
    params(ThingFilter, PageParams), responses((status = 200, description = "A page", body = ThingPage)))]
async fn list_things(list: List<ThingFilter>) -> ApiResult<Json<ThingPage>> {
    let items = list.filter.state.iter().map(|state| lamp(state)).collect();
    Ok(Json(Page { items, next: None }.into()))
}

/// Create a thing
#[utoipa::path(post, path = "/api/v1/things", operation_id = "create_thing", tag = "things",
    extensions(("x-fleet-permission" = json!("things:write"))),
    request_body = NewThing, responses((status = 201, description = "The thing", body = Thing)))]
async fn create_thing(Json(new): Json<NewThing>) -> (StatusCode, ETag, Json<Thing>) {
    (
        StatusCode::CREATED,
        ETag(u64::from(new.size_bytes)),
        Json(lamp(&new.name)),
    )
}

/// Read a thing
#[utoipa::path(get, path = "/api/v1/things/{thing_id}", operation_id = "get_thing", tag = "things",
    extensions(("x-fleet-permission" = json!("things:read"))),
    params(("thing_id" = ThingId, Path, description = "Which one")),
    responses((status = 200, description = "The thing", body = Thing)))]
async fn get_thing(Path(thing_id): Path<ThingId>) -> Json<Thing> {
    Json(Thing {
        id: thing_id,
        ..lamp("lamp")
    })
}

/// Remove a thing
#[utoipa::path(delete, path = "/api/v1/things/{thing_id}", operation_id = "delete_thing", tag = "things",
    extensions(("x-fleet-permission" = json!("things:write"))),
    params(("thing_id" = ThingId, Path, description = "Which one"), ("If-Match" = String, Header, description = "What you saw")),
    responses((status = 204, description = "It is gone")))]
async fn delete_thing(Path(_id): Path<ThingId>, condition: IfMatch) -> ApiResult<StatusCode> {
    match condition.revision() {
        None | Some(7) => Ok(StatusCode::NO_CONTENT),
        Some(_) => Err(ApiError::new(PRECONDITION_FAILED, "somebody changed it meanwhile")),
    }
}

/// Routes that go wrong, outside the document.
fn bad_days() -> Router {
    use axum::routing::{get, post};
    Router::new()
        .route(
            "/panic",
            get(|| async {
                if true {
                    panic!("secret-panic-text")
                }
            }),
        )
        .route(
            "/fail",
            get(|| async {
                let cause = std::io::Error::other("secret-cause /var/lib/fleet");
                Err::<(), _>(ApiError::from(Error::internal(cause)))
            }),
        )
        .route(
            "/sleep",
            get(|| async { tokio::time::sleep(Duration::from_secs(3_600)).await }),
        )
        .route(
            "/plain",
            get(|| async { (StatusCode::IM_A_TEAPOT, "secret-plain-text") }),
        )
        .route(
            "/who",
            get(|context: RequestContext| async move { format!("{:?}", context.client) }),
        )
        .route(
            "/large",
            post(|Json(body): Json<Value>| async move { Json(body) }).layer(DefaultBodyLimit::max(4 * 1024 * 1024)),
        )
}

struct Parts(Vec<PartReadiness>);

#[async_trait::async_trait]
impl Readiness for Parts {
    async fn parts(&self) -> Vec<PartReadiness> {
        if self.0.is_empty() {
            std::future::pending().await
        }
        self.0.clone()
    }
}

fn stack(parts: &[(&'static str, bool)]) -> Stack {
    let parts = parts
        .iter()
        .map(|&(name, ready)| PartReadiness { name, ready })
        .collect();
    Stack::new(
        Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000))),
        &SeededRandom::new(1),
        Arc::new(Parts(parts)),
    )
}

fn things(base: OpenApi) -> OpenApiRouter {
    OpenApiRouter::with_openapi(base)
        .routes(routes!(list_things, create_thing))
        .routes(routes!(get_thing, delete_thing))
}

/// The server with these limits and these parts (name, ready); without parts, readiness never answers.
pub fn app_with(limits: Limits, parts: &[(&'static str, bool)]) -> Router {
    let waiting = Router::new().route(
        "/wait",
        axum::routing::get(|| async {
            tokio::time::sleep(Duration::from_secs(600)).await;
            "waited"
        }),
    );
    let routes = Routes {
        ordinary: things(OpenApi::default()).merge(OpenApiRouter::from(bad_days())),
        waiting: OpenApiRouter::from(waiting),
    };
    stack(parts)
        .with_limits(limits)
        .with_trusted_proxies(["127.0.0.1".parse().unwrap()])
        .assemble(routes)
        .0
}

/// The server with default limits.
pub fn app() -> Router {
    app_with(Limits::default(), &[("storage", true)])
}

/// What utoipa collects from the well-behaved routes and the probes.
pub fn collected(base: OpenApi) -> OpenApi {
    let routes = Routes {
        ordinary: things(base),
        ..Routes::default()
    };
    stack(&[]).assemble(routes).1
}

/// One request, one answer.
pub async fn send(app: &Router, request: Request<Body>) -> Response<Body> {
    app.clone().oneshot(request).await.unwrap()
}
