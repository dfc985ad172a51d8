//! Bad input and bad days, over HTTP: each is a problem document with a stable code, and nothing of ours leaks.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may panic; clippy.toml allows it only in the tests themselves"
)]

mod app;

use std::{net::SocketAddr, time::Duration};

use app::{LAMP, app, app_with, send};
use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Method, Request, Response, StatusCode},
};
use fleet_api::{limits::Limits, openapi, problem::Problem};
use serde_json::{Value, json};

fn get(path: &str) -> Request<Body> {
    Request::get(path)
        .header("x-request-id", "test-request")
        .body(Body::empty())
        .unwrap()
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(path).header("x-request-id", "test-request");
    request
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 16 * 1024 * 1024)
        .await
        .unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Sends the request and expects a problem with this status, code and pointer, in full dress.
async fn check(app: &Router, request: Request<Body>, status: u16, code: &str, pointer: Option<&str>) -> Problem {
    let response = send(app, request).await;
    assert_eq!(response.status().as_u16(), status, "{code}");
    let headers = response.headers().clone();
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("content-type").as_deref(), Some("application/problem+json"));
    assert_eq!(header("x-request-id").as_deref(), Some("test-request"));
    assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"));
    assert_eq!(header("cache-control").as_deref(), Some("no-store"));
    assert_eq!(header("referrer-policy").as_deref(), Some("no-referrer"));
    assert_eq!(
        header("content-security-policy").as_deref(),
        Some("default-src 'none'; frame-ancestors 'none'")
    );
    assert_eq!(header("retry-after").is_some(), matches!(status, 429 | 503));
    assert_eq!(header("allow").is_some(), status == 405);
    let length = header("content-length");
    let body = text(response).await;
    assert!(length.is_none_or(|length| length == body.len().to_string()));
    for ours in [
        "secret",
        "serde",
        "axum",
        "tower",
        "NewThing",
        "DeviceId",
        "ThingFilter",
        ".rs",
        "Some(",
    ] {
        assert!(!body.contains(ours), "{ours} in {body}");
    }
    let problem: Problem = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (problem.status, problem.code.as_str(), problem.request_id.as_str()),
        (status, code, "test-request")
    );
    assert_eq!(problem.kind, format!("urn:fleet:problem:{code}"));
    assert_eq!(
        problem.errors.first().map(|error| error.pointer.as_str()),
        pointer,
        "{body}"
    );
    problem
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let app = app();
    let ten_megabytes = format!("{{\"name\":\"{}\"}}", "x".repeat(10 * 1024 * 1024));
    check(
        &app,
        post("/api/v1/things", ten_megabytes.clone()),
        413,
        "request.body_too_large",
        None,
    )
    .await;
    let chunks = (0..10_240).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1024]));
    let endless = Body::from_stream(futures::stream::iter(chunks));
    check(
        &app,
        post("/api/v1/things", endless),
        413,
        "request.body_too_large",
        None,
    )
    .await;
    check(&app, post("/large", ten_megabytes), 413, "request.body_too_large", None).await;
}

#[tokio::test]
async fn a_route_may_allow_more() {
    let two_megabytes = format!("\"{}\"", "x".repeat(2 * 1024 * 1024));
    assert_eq!(
        text(send(&app(), post("/large", two_megabytes.clone())).await).await,
        two_megabytes
    );
}

#[tokio::test]
async fn bad_json_is_refused_with_its_position() {
    let app = app();
    let problem = check(
        &app,
        post("/api/v1/things", "{\n \"name\": }"),
        400,
        "request.json_syntax",
        None,
    )
    .await;
    assert_eq!(
        problem.detail,
        "the body is not JSON: expected value at line 2 column 10"
    );
    check(&app, post("/api/v1/things", ""), 400, "request.json_syntax", None).await;
    check(
        &app,
        post("/api/v1/things", "[".repeat(70)),
        400,
        "request.too_deep",
        None,
    )
    .await;
    check(
        &app,
        post("/api/v1/things", r#"{"name":"\u0000"}"#),
        400,
        "request.nul_character",
        None,
    )
    .await;
    let broken = Body::from_stream(futures::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other(
        "secret",
    ))]));
    check(
        &app,
        post("/api/v1/things", broken),
        400,
        "request.body_unreadable",
        None,
    )
    .await;
}

#[tokio::test]
async fn a_member_that_does_not_fit_is_pointed_at() {
    let app = app();
    for (body, pointer) in [
        (json!({"name": "x"}), "/size_bytes"),
        (json!({"name": "x", "size_bytes": "secret"}), "/size_bytes"),
        (json!({"name": "x", "size_bytes": -1}), "/size_bytes"),
        (json!({"name": "x", "size_bytes": 1, "colour": "red"}), "/colour"),
        (json!(["x"]), ""),
        (json!("secret"), ""),
    ] {
        check(
            &app,
            post("/api/v1/things", body.to_string()),
            400,
            "request.invalid",
            Some(pointer),
        )
        .await;
    }
}

#[tokio::test]
async fn a_body_of_another_type_is_refused() {
    let app = app();
    for kind in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonish"),
        Some(""),
    ] {
        let mut request = post("/api/v1/things", r#"{"name":"x","size_bytes":1}"#);
        request.headers_mut().remove("content-type");
        if let Some(kind) = kind {
            request.headers_mut().insert("content-type", kind.parse().unwrap());
        }
        check(&app, request, 415, "request.content_type_unsupported", None).await;
    }
    let mut request = post("/api/v1/things", r#"{"name":"x","size_bytes":1}"#);
    request
        .headers_mut()
        .insert("content-type", "Application/JSON; charset=utf-8".parse().unwrap());
    let response = send(&app, request).await;
    assert_eq!(
        (response.status(), response.headers()["etag"].to_str().unwrap()),
        (StatusCode::CREATED, "\"1\"")
    );
}

#[tokio::test]
async fn query_parameters_are_checked_by_name_and_value() {
    let app = app();
    let problem = check(
        &app,
        get("/api/v1/things?colour=red"),
        400,
        "request.parameter_unknown",
        Some("colour"),
    )
    .await;
    assert_eq!(
        problem.detail,
        "no such parameter; allowed are state, limit, page_token"
    );
    check(
        &app,
        get("/api/v1/things?limit=0"),
        400,
        "page.limit_invalid",
        Some("limit"),
    )
    .await;
    check(
        &app,
        get("/api/v1/things?limit=secret"),
        400,
        "request.invalid",
        Some("limit"),
    )
    .await;
    check(
        &app,
        get("/api/v1/things?limit=1&limit=2"),
        400,
        "request.invalid",
        Some("limit"),
    )
    .await;
    check(
        &app,
        get("/api/v1/things?state=%00"),
        400,
        "request.nul_character",
        Some("state"),
    )
    .await;
    let page: Value =
        serde_json::from_str(&text(send(&app, get("/api/v1/things?state=on&state=off")).await).await).unwrap();
    assert_eq!(
        (page["items"][1]["name"].as_str(), page.get("next"), page.get("total")),
        (Some("off"), Some(&Value::Null), None)
    );
}

#[tokio::test]
async fn a_path_that_holds_no_id_is_refused() {
    let app = app();
    let problem = check(
        &app,
        get("/api/v1/things/lamp"),
        400,
        "request.invalid",
        Some("thing_id"),
    )
    .await;
    assert!(
        problem
            .detail
            .starts_with("not a device id: expected a UUID in lower case"),
        "{}",
        problem.detail
    );
    check(
        &app,
        get(&format!("/api/v1/things/{}", LAMP.to_uppercase())),
        400,
        "request.invalid",
        Some("thing_id"),
    )
    .await;
    check(
        &app,
        get("/api/v1/things/%00"),
        400,
        "request.nul_character",
        Some("thing_id"),
    )
    .await;
    check(
        &app,
        get("/api/v1/things/%FF"),
        400,
        "request.invalid",
        Some("thing_id"),
    )
    .await;
    assert!(
        text(send(&app, get(&format!("/api/v1/things/{LAMP}"))).await)
            .await
            .contains(LAMP)
    );
}

#[tokio::test]
async fn changes_want_the_revision_that_was_seen() {
    let app = app();
    let delete = |condition: Option<&str>| {
        let mut request = get(&format!("/api/v1/things/{LAMP}"));
        *request.method_mut() = Method::DELETE;
        if let Some(condition) = condition {
            request.headers_mut().insert("if-match", condition.parse().unwrap());
        }
        request
    };
    check(
        &app,
        delete(None),
        428,
        "request.precondition_required",
        Some("If-Match"),
    )
    .await;
    check(
        &app,
        delete(Some("7")),
        400,
        "request.precondition_invalid",
        Some("If-Match"),
    )
    .await;
    check(&app, delete(Some("\"8\"")), 412, "request.precondition_failed", None).await;
    assert_eq!(send(&app, delete(Some("\"7\""))).await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems_too() {
    let app = app();
    check(&app, get("/api/v1/nothing"), 404, "route.not_found", None).await;
    check(&app, get("/"), 404, "route.not_found", None).await;
    let mut request = get("/api/v1/things");
    *request.method_mut() = Method::PUT;
    let allow = send(&app, request).await.headers()["allow"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(allow, "GET,HEAD,POST");
    for method in ["PUT", "BREW"] {
        let mut request = get("/api/v1/things");
        *request.method_mut() = method.parse().unwrap();
        check(&app, request, 405, "route.method_not_allowed", None).await;
    }
}

#[tokio::test]
async fn panics_and_faults_tell_the_caller_nothing() {
    let app = app();
    let panicked = check(&app, get("/panic"), 500, "internal", None).await;
    let failed = check(&app, get("/fail"), 500, "internal", None).await;
    assert_eq!(panicked.detail, failed.detail);
    check(&app, get("/plain"), 418, "request.invalid", None).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_given_up() {
    let app = app();
    let begun = tokio::time::Instant::now();
    check(&app, get("/sleep"), 503, "server.timed_out", None).await;
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert_eq!(text(send(&app, get("/wait")).await).await, "waited");
}

#[tokio::test(start_paused = true)]
async fn one_request_too_many_is_refused_and_probes_are_not() {
    let limits = Limits {
        concurrent: 2,
        ..Limits::default()
    };
    let app = app_with(limits, &[("storage", true)]);
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { send(&app, get("/sleep")).await.status() })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    check(&app, get("/api/v1/things"), 503, "server.overloaded", None).await;
    assert_eq!(send(&app, get("/healthz")).await.status(), StatusCode::OK);
    assert_eq!(send(&app, get("/readyz")).await.status(), StatusCode::OK);
    for request in busy {
        assert_eq!(request.await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(send(&app, get("/api/v1/things")).await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn readiness_names_the_part_that_does_not_answer() {
    let of = |parts: &[(&'static str, bool)]| app_with(Limits::default(), parts);
    let ready = of(&[("storage", true), ("keys", true)]);
    assert_eq!(
        text(send(&ready, get("/readyz")).await).await,
        r#"{"status":"ready","parts":[{"name":"storage","ready":true},{"name":"keys","ready":true}]}"#
    );
    check(
        &of(&[("storage", true), ("keys", false)]),
        get("/readyz"),
        503,
        "server.not_ready",
        Some("keys"),
    )
    .await;
    check(&of(&[]), get("/readyz"), 503, "server.not_ready", None).await;
    assert_eq!(text(send(&of(&[]), get("/healthz")).await).await, r#"{"status":"ok"}"#);
}

#[tokio::test]
async fn only_a_trusted_proxy_says_who_the_client_is() {
    let app = app();
    for (peer, expected) in [("127.0.0.1:9", "Some(203.0.113.9)"), ("192.0.2.1:9", "Some(192.0.2.1)")] {
        let mut request = get("/who");
        request
            .headers_mut()
            .insert("x-forwarded-for", "203.0.113.9".parse().unwrap());
        request
            .extensions_mut()
            .insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        assert_eq!(text(send(&app, request).await).await, expected);
    }
    assert_eq!(text(send(&app, get("/who")).await).await, "None");
}

#[tokio::test]
async fn the_document_is_normalised_and_keeps_the_rules_of_the_house() {
    #[derive(utoipa::OpenApi)]
    #[openapi(
        info(title = "test", version = "1", license(name = "MIT")),
        security(("bearer" = [])),
        components(schemas(fleet_api::live::LiveEvent, Problem))
    )]
    struct Base;
    let raw = app::collected(<Base as utoipa::OpenApi>::openapi());
    let text = openapi::document(&raw).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(openapi::lint(&document), Vec::<String>::new(), "{text}");
    assert_eq!(openapi::render(&document), text);

    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["Thing"]["required"], json!(["id", "name", "site"]));
    assert_eq!(schemas["ThingPage"]["required"], json!(["items", "next"]));
    assert_eq!(
        schemas["ThingPage"]["properties"]["items"]["items"],
        json!({"$ref": "#/components/schemas/Thing"})
    );
    assert_eq!(
        schemas["LiveEvent"]["discriminator"]["mapping"]["resync"],
        "#/components/schemas/LiveEventResync"
    );
    assert_eq!(schemas["LiveEventResync"]["required"], json!(["reason", "type"]));
    let limit = &document["paths"]["/api/v1/things"]["get"]["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .find(|parameter| parameter["name"] == "limit")
        .unwrap()["schema"];
    assert_eq!(
        (&limit["type"], &limit["maximum"], &limit["default"]),
        (&json!("integer"), &json!(500), &json!(50))
    );
    let responses = document["paths"]["/api/v1/things/{thing_id}"]["delete"]["responses"]
        .as_object()
        .unwrap();
    let statuses: Vec<&str> = responses.keys().map(String::as_str).collect();
    assert_eq!(
        statuses,
        ["204", "400", "401", "403", "404", "409", "412", "428", "429", "5XX"]
    );
}
