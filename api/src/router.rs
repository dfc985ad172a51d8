//! The stack that every request passes, in this order:
//!
//! 1. request id and client address ([`crate::extract::RequestContext`]), the id also in the answer; to agents the time;
//! 2. the log: method, matched path, status, duration; never a query string, a header or a body;
//! 3. security headers. When it succeeds, an answer to what comes again and again has `Cache-Control` only, and no id, time or
//!    line in the log;
//! 4. failures become problem documents, with the request id;
//! 5. panics become failures;
//! 6. at most so many requests at once, and each for so long (not the streams and long polls);
//! 7. the limit of a body, which a route may change with `DefaultBodyLimit`;
//! 8. the route.
//!
//! What is outside sees what is inside: an answer to a panic has its headers and its line in the log too.
//!
//! All of it is one layer of the router, `Enveloping`: with each layer, every request copies all the layers within it.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    response::{IntoResponse, Response},
};
use fleet_core::kernel::{Clock, Randomness};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tower::{Layer, Service};
use tracing::Instrument as _;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    codes,
    extract::{ContextSource, Network, REQUEST_ID, RequestContext, RequestId},
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
    pub fn new(clock: Arc<dyn Clock>, random: &dyn Randomness, readiness: Arc<dyn Readiness>) -> Self {
        Self {
            source: ContextSource::new(clock, random),
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
        let (health, health_openapi) = health::router(self.readiness.clone(), readiness).split_for_parts();
        openapi.merge(waiting_openapi);
        openapi.merge(health_openapi);

        let within = |places: Option<usize>, time: Option<Duration>| {
            let envelope = Envelope {
                source: self.source.clone(),
                places: places.map(Semaphore::new),
                time,
                body,
            };
            Enveloping(Arc::new(envelope))
        };
        let router = Router::new()
            .merge(ordinary.layer(within(Some(concurrent), Some(request))))
            .merge(waiting.layer(within(Some(concurrent_waiting), None)))
            // Not counted and not timed: a server that is busy lives. Paths that are none come here as well.
            .merge(health.layer(within(None, None)));
        (router, openapi)
    }
}

/// What surrounds a class of routes.
struct Envelope {
    source: ContextSource,
    /// Requests at once. One is counted until its answer begins: the rest of a stream costs little and has a bound of its own.
    places: Option<Semaphore>,
    /// The time until its answer begins.
    time: Option<Duration>,
    /// Bytes of a body.
    body: usize,
}

impl Envelope {
    async fn serve(&self, answer: impl Future<Output = Result<Response, Infallible>>) -> Response {
        let place = self.places.as_ref().map(Semaphore::try_acquire).transpose();
        let Ok(_place) = place else {
            return ApiError::new(
                codes::OVERLOADED,
                "the server has as many requests as it serves at once; try again",
            )
            .retry_after(Duration::from_secs(1))
            .into_response();
        };
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let answer = match self.time {
            None => answer.await,
            Some(limit) => match timeout(limit, answer).await {
                Ok(answer) => answer,
                Err(_) => {
                    return ApiError::new(
                        codes::TIMED_OUT,
                        "the server gave up on this request; it may still have had its effect",
                    )
                    .into_response();
                }
            },
        };
        match answer {
            Ok(Ok(answer)) => answer,
            Err(panic) => ApiError::of_panic(&*panic).into_response(),
        }
    }
}

/// Puts an [`Envelope`] around routes.
#[derive(Clone)]
struct Enveloping(Arc<Envelope>);

impl<S> Layer<S> for Enveloping {
    type Service = Enveloped<S>;

    fn layer(&self, inner: S) -> Enveloped<S> {
        Enveloped {
            envelope: self.0.clone(),
            inner,
        }
    }
}

/// Routes in their [`Envelope`]. A service of its own: `axum::middleware::from_fn` boxes what is within once more.
#[derive(Clone)]
struct Enveloped<S> {
    envelope: Arc<Envelope>,
    inner: S,
}

impl<S> Service<Request> for Enveloped<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let envelope = self.envelope.clone();
        let asked = Asked::of(&envelope.source, &request);
        request.extensions_mut().insert(asked.context.clone());
        DefaultBodyLimit::max(envelope.body).apply(&mut request);
        // Nothing of the route runs before this is awaited, nor if it never is.
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(enveloped(&envelope, asked, answer).await) })
    }
}

/// What the envelope remembers of a request.
struct Asked {
    begun: Instant,
    context: RequestContext,
    /// The pattern of the route: the path itself is foreign text, and without it requests can be counted by route.
    route: Option<MatchedPath>,
    method: &'static str,
}

impl Asked {
    fn of(source: &ContextSource, request: &Request) -> Self {
        Self {
            begun: Instant::now(),
            context: source.context(request.headers(), request.extensions()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            method: known(request.method()),
        }
    }
}

async fn enveloped(
    envelope: &Envelope,
    asked: Asked,
    answer: impl Future<Output = Result<Response, Infallible>>,
) -> Response {
    let Asked {
        begun,
        context: RequestContext { request_id, .. },
        route,
        method,
    } = asked;
    let path = route.as_ref().map_or("(none)", MatchedPath::as_str);
    let is_frequent = FREQUENT.contains(&path);
    let span = if is_frequent {
        tracing::debug_span!("request", id = %request_id, method, path)
    } else {
        tracing::info_span!("request", id = %request_id, method, path)
    };
    let answer = async {
        let mut response = envelope.serve(answer).await;
        finish_problem(&request_id, &mut response);
        let status = response.status();
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let code = status.as_u16();
        match is_frequent {
            false => tracing::info!(status = code, duration_ms, "answered"),
            true if status.is_success() => tracing::debug!(status = code, duration_ms, "answered"),
            // Its span is not there at this level.
            true => tracing::info!(id = %request_id, method, path, status = code, duration_ms, "answered"),
        }
        response
    };
    let mut response = answer.instrument(span).await;
    let is_beat = is_frequent && response.status().is_success();
    let headers = response.headers_mut();
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    if is_beat {
        // Its frames say the time; nobody will ask for its name; no browser shows it. Room for more would have to be made.
        return response;
    }
    headers.reserve(SECURITY_HEADERS.len() + 1);
    for (name, value) in SECURITY_HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Some(request_id) = request_id.header() {
        headers.insert(REQUEST_ID, request_id);
    }
    response
}

/// What comes from every device or balancer again and again: a line of the log only when it fails, or when asked for.
const FREQUENT: [&str; 3] = ["/agent/v1/exchange", "/healthz", "/readyz"];

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
const SECURITY_HEADERS: [(HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// Finishes every failure: the log half to the log, the rest to the caller. A bare error of a framework becomes one too.
fn finish_problem(request_id: &RequestId, response: &mut Response) {
    let status = response.status();
    let error = match response.extensions_mut().remove::<ApiError>() {
        Some(error) => error,
        None if (status.is_client_error() || status.is_server_error()) && !is_problem(response.headers()) => {
            ApiError::of_status(status)
        }
        None => return,
    };
    let request_id = request_id.to_string();
    error.write_log(&request_id);
    error.write(&request_id, response);
}

fn is_problem(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == PROBLEM_JSON)
}
