//! What the log says of a request. Alone in its program: tracing remembers for all threads whether anybody listens to a
//! line, and a test beside this one, without a listener, could make it remember "nobody".

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may panic; clippy.toml allows it only in the tests themselves"
)]

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, http::Request, routing::get};
use fleet_api::{
    extract::{Json, List},
    health::{PartReadiness, Readiness},
    problem::ApiError,
    router::{Routes, Stack},
};
use fleet_core::kernel::{Error, ManualClock, SeededRandom, Timestamp};
use serde::Deserialize;
use tower::ServiceExt as _;
use utoipa_axum::router::OpenApiRouter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Deserialize)]
struct Numbered {
    #[serde(rename = "number")]
    _number: u32,
}

#[derive(Deserialize)]
struct NoFilter {}

struct AlwaysReady;

#[async_trait::async_trait]
impl Readiness for AlwaysReady {
    async fn parts(&self) -> Vec<PartReadiness> {
        Vec::new()
    }
}

#[tokio::test]
async fn the_log_has_id_route_status_and_cause_but_no_path_query_header_or_body() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let routes = Router::new()
        .route(
            "/things/{thing_id}",
            get(|_list: List<NoFilter>| async {}).post(|_body: Json<Numbered>| async {}),
        )
        .route(
            "/fail",
            get(|| async { Err::<(), _>(ApiError::from(Error::internal("the-cause"))) }),
        );
    let stack = Stack::new(
        Arc::new(ManualClock::new(Timestamp::EPOCH)),
        &SeededRandom::new(1),
        Arc::new(AlwaysReady),
    );
    let (app, _) = stack.assemble(Routes {
        ordinary: OpenApiRouter::from(routes),
        ..Routes::default()
    });
    for (method, path, body) in [
        ("GET", "/things/hush-id?page_token=hush-query", ""),
        ("GET", "/things/hush-id?hush-name=1", ""),
        ("HUSH", "/things/hush-id", ""),
        ("GET", "/hush-path", ""),
        ("POST", "/things/1", r#"{"number":"hush-body"}"#),
        ("POST", "/things/1", "hush-body"),
        ("GET", "/fail", ""),
    ] {
        let request = Request::builder().method(method).uri(path);
        let request = request
            .header("x-request-id", "test-request")
            .header("content-type", "application/json")
            .header("authorization", "Bearer hush-token");
        app.clone()
            .oneshot(request.body(Body::from(body)).unwrap())
            .await
            .unwrap();
    }

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!log.to_lowercase().contains("hush"), "{log}");
    for expected in [
        "id=\"test-request\"",
        "method=\"POST\"",
        "path=\"/things/{thing_id}\"",
        "path=\"(none)\"",
        "status=200",
        "status=400",
        "status=404",
        "status=405",
        "status=500",
        "duration_ms=",
        "the-cause",
        "code=\"request.invalid\"",
    ] {
        assert!(log.contains(expected), "{expected} is not in {log}");
    }
}
