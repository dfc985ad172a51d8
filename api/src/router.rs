//! The stack that every request passes, in this order:
//!
//! 1. request id and client address ([`crate::extract::RequestContext`]), the id also in the answer;
//! 2. the log: method, matched path, status, duration; never a query string, a header or a body;
//! 3. security headers;
//! 4. failures become problem documents, with the request id;
//! 5. panics become failures;
//! 6. at most so many requests at once, and each for so long (not the streams and long polls);
//! 7. the limit of a body, which a route may change with `DefaultBodyLimit`;
//! 8. the route.
//!
//! What is outside sees what is inside: an answer to a panic has its headers and its line in the log too.

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use fleet_core::kernel::{Clock, Randomness};
use tokio::{sync::Semaphore, time::Instant};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    codes,
    extract::{ContextSource, Network, RequestContext},
    health::{self, Readiness},
    limits::Limits,
    problem::{ApiError, PROBLEM_JSON},
};

/// The routes of a server, by how they may spend time. None of them has a fallback of its own.
pub struct Routes<S = ()> {
    /// Answered within [`Limits::request`].
    pub ordinary: OpenApiRouter<S>,
    /// Streams, sockets and long polls: no time limit here, so each has its own.
    pub waiting: OpenApiRouter<S>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self {
            ordinary: OpenApiRouter::default(),
            waiting: OpenApiRouter::default(),
        }
    }
}

impl<S: Clone + Send + Sync + 'static> std::fmt::Debug for Routes<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let paths = |router: &OpenApiRouter<S>| router.get_openapi().paths.paths.keys().cloned().collect::<Vec<_>>();
        f.debug_struct("Routes")
            .field("ordinary", &paths(&self.ordinary))
            .field("waiting", &paths(&self.waiting))
            .finish()
    }
}

/// What the stack needs from outside.
#[derive(Clone)]
pub struct Stack {
    source: ContextSource,
    limits: Limits,
    readiness: Arc<dyn Readiness>,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack")
            .field("source", &self.source)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Stack {
    /// A stack with the default limits that trusts no proxy.
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Randomness>, readiness: Arc<dyn Readiness>) -> Self {
        Self {
            source: ContextSource {
                clock,
                random,
                trusted_proxies: Arc::default(),
            },
            limits: Limits::default(),
            readiness,
        }
    }

    /// Other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Believes the `X-Forwarded-For` of these peers.
    #[must_use]
    pub fn with_trusted_proxies(mut self, proxies: impl Into<Arc<[Network]>>) -> Self {
        self.source.trusted_proxies = proxies.into();
        self
    }

    /// The finished router, and the raw OpenAPI document of all routes (see [`crate::openapi::document`]).
    ///
    /// Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, or clients have no address.
    pub fn assemble(&self, routes: Routes) -> (Router, utoipa::openapi::OpenApi) {
        let Limits {
            body,
            request,
            concurrent,
            concurrent_waiting,
            readiness,
        } = self.limits;
        let (ordinary, mut openapi) = routes.ordinary.split_for_parts();
        let (waiting, waiting_openapi) = routes.waiting.split_for_parts();
        // Not counted and not timed: a server that is busy lives.
        let (health, health_openapi) = health::router(self.readiness.clone(), readiness).split_for_parts();
        openapi.merge(waiting_openapi);
        openapi.merge(health_openapi);

        let ordinary = ordinary
            .layer(from_fn_with_state(request, time_limit))
            .layer(from_fn_with_state(
                Arc::new(Semaphore::new(concurrent)),
                concurrency_limit,
            ));
        let waiting = waiting.layer(from_fn_with_state(
            Arc::new(Semaphore::new(concurrent_waiting)),
            concurrency_limit,
        ));
        let router = Router::new()
            .merge(ordinary)
            .merge(waiting)
            .merge(health)
            .layer(DefaultBodyLimit::max(body))
            .layer(CatchPanicLayer::custom(answer_panic))
            .layer(from_fn(problems))
            .layer(from_fn(security_headers))
            .layer(from_fn(log))
            .layer(from_fn_with_state(self.source.clone(), identify));
        (router, openapi)
    }
}

async fn identify(State(source): State<ContextSource>, mut request: Request, next: Next) -> Response {
    let context = source.context(request.headers(), request.extensions());
    let request_id = HeaderValue::from_str(&context.request_id);
    request.extensions_mut().insert(context);
    let mut response = next.run(request).await;
    if let Ok(request_id) = request_id {
        response.headers_mut().insert(crate::extract::REQUEST_ID, request_id);
    }
    response
}

fn request_id(request: &Request) -> String {
    let context = request.extensions().get::<RequestContext>();
    context.map(|context| context.request_id.clone()).unwrap_or_default()
}

async fn log(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    // The pattern of the route: the path itself is foreign text, and without it requests can be counted by route.
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("(none)", MatchedPath::as_str);
    let is_probe = matches!(path, "/healthz" | "/readyz");
    let span = tracing::info_span!(
        "request",
        id = request_id(&request),
        method = known(request.method()),
        path
    );
    async move {
        let response = next.run(request).await;
        let status = response.status().as_u16();
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if is_probe {
            tracing::debug!(status, duration_ms, "answered");
        } else {
            tracing::info!(status, duration_ms, "answered");
        }
        response
    }
    .instrument(span)
    .await
}

/// A method may be any word; only known ones go to the log.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "(other)",
    }
}

/// Each is set unless the route did: the dashboard has a policy of its own.
const SECURITY_HEADERS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
];

async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in SECURITY_HEADERS {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Finishes every failure: the log half to the log, the rest to the caller. A bare error of a framework becomes one too.
async fn problems(request: Request, next: Next) -> Response {
    let request_id = request_id(&request);
    let mut response = next.run(request).await;
    let status = response.status();
    let error = match response.extensions_mut().remove::<ApiError>() {
        Some(error) => error,
        None if (status.is_client_error() || status.is_server_error()) && !is_problem(response.headers()) => {
            ApiError::of_status(status)
        }
        None => return response,
    };
    error.write_log(&request_id);
    error.write(&request_id, &mut response);
    response
}

fn is_problem(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == PROBLEM_JSON)
}

fn answer_panic(panic: Box<dyn Any + Send>) -> Response {
    ApiError::of_panic(&*panic).into_response()
}

/// Counts a request until its answer begins: the rest of a stream costs little and has a bound of its own.
async fn concurrency_limit(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    match places.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => ApiError::new(
            codes::OVERLOADED,
            "the server has as many requests as it serves at once; try again",
        )
        .retry_after(Duration::from_secs(1))
        .into_response(),
    }
}

async fn time_limit(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(
            codes::TIMED_OUT,
            "the server gave up on this request; it may still have had its effect",
        )
        .into_response(),
    }
}
