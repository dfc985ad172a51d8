use std::time::Duration;

use fleet_core::{
    devices::inventory::{Memory, SectionBody},
    kernel::{Clock as _, Timestamp},
    protocol::{ASSERTION_HEADER, Assertion},
};
use serde_json::json;

use crate::{
    support::{App, Call, Device},
    world::{digest, refused, report},
};

const PATH: &str = "/agent/v1/reports/memory";

fn body(app: &App) -> Vec<u8> {
    let memory = Memory {
        total_bytes: 5,
        swap_total_bytes: 0,
    };
    serde_json::to_vec(&report(app, SectionBody::Memory(memory))).unwrap()
}

/// What a device would sign for a report of its memory.
fn proof(app: &App, device: &Device, at: Timestamp) -> String {
    Assertion::sign(&device.key, device.id, at, &*app.random, "POST", PATH, &body(app))
}

fn sending<'a>(app: &'a App, assertion: &str) -> Call<'a> {
    app.post(PATH).bytes(body(app)).header(ASSERTION_HEADER, assertion)
}

#[tokio::test]
async fn an_assertion_is_accepted_once() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web").await;
    let assertion = proof(&app, &device, app.clock.now());
    sending(&app, &assertion).send().await.expect(204);
    refused(&app, sending(&app, &assertion), 401, "assertion.invalid").await;
}

#[tokio::test]
async fn an_assertion_proves_one_device_and_one_request() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web").await;
    let other = app.device(&admin, "db").await;
    let now = app.clock.now();
    let (bytes, random) = (body(&app), &*app.random);
    let sign =
        |key, id, method: &str, path: &str, body: &[u8]| Assertion::sign(key, id, now, random, method, path, body);
    let good = proof(&app, &device, now);
    for (_what, assertion) in [
        (
            "another device's key",
            sign(&other.key, device.id, "POST", PATH, &bytes),
        ),
        (
            "another device's name",
            sign(&device.key, other.id, "POST", PATH, &bytes),
        ),
        (
            "another path",
            sign(&device.key, device.id, "POST", "/agent/v1/exchange", &bytes),
        ),
        (
            "another section",
            sign(&device.key, device.id, "POST", "/agent/v1/reports/cpu", &bytes),
        ),
        ("another method", sign(&device.key, device.id, "GET", PATH, &bytes)),
        ("another body", sign(&device.key, device.id, "POST", PATH, b"{}")),
        ("a cut text", good[..good.len() - 1].to_owned()),
        ("no text", String::new()),
        ("a long text", "A".repeat(4_000)),
    ] {
        refused(&app, sending(&app, &assertion), 401, "assertion.invalid").await;
    }
    let without = app.post(PATH).bytes(bytes.clone());
    refused(&app, without, 401, "assertion.invalid").await;
    // None of them used the good one up.
    sending(&app, &good).send().await.expect(204);
}

#[tokio::test]
async fn a_clock_that_is_off_by_more_than_a_minute_proves_nothing() {
    let (app, admin) = App::with_admin().await;
    // What is older than the server's start is refused for that.
    app.advance(600);
    let device = app.device(&admin, "web").await;
    let now = app.clock.now();
    let second = Duration::from_secs(1);
    for at in [now.minus(61 * second), now.plus(61 * second), Timestamp::EPOCH] {
        let call = sending(&app, &proof(&app, &device, at));
        refused(&app, call, 401, "assertion.stale").await;
    }
    for at in [now.minus(59 * second), now.plus(59 * second)] {
        sending(&app, &proof(&app, &device, at)).send().await.expect(204);
    }
}

#[tokio::test]
async fn a_device_that_is_disabled_or_deleted_is_turned_away_with_the_reason() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web").await;
    let path = format!("/api/v1/devices/{}", device.id);
    let disable = json!({"disabled": true});
    let call = app.patch(&path).token(&admin).header("if-match", "*").body(&disable);
    call.send().await.expect(200);
    let call = sending(&app, &proof(&app, &device, app.clock.now()));
    refused(&app, call, 403, "device.disabled").await;
    app.delete(&path).token(&admin).send().await.expect(204);
    let call = sending(&app, &proof(&app, &device, app.clock.now()));
    refused(&app, call, 404, "device.gone").await;
}

#[tokio::test]
async fn an_exchange_is_proved_like_every_request_of_an_agent() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web").await;
    let hello = json!({"wait_seconds": 0, "frames": [{
        "type": "hello", "nonce": "AAAAAAAAAAAAAAAAAAAAAA", "protocol_min": 1, "protocol_max": 1,
        "agent_version": "1.0.0", "operations": [],
    }]});
    let exchange = || app.post("/agent/v1/exchange").body(&hello);
    refused(&app, exchange(), 401, "assertion.invalid").await;
    let report = proof(&app, &device, app.clock.now());
    let call = exchange().header(ASSERTION_HEADER, &report);
    refused(&app, call, 401, "assertion.invalid").await;
    let answer = exchange().device(&device).send().await.expect(200);
    assert_eq!(answer.str("/frames/0/type"), "welcome");

    let before = digest(&app).await;
    let large = json!({"wait_seconds": 0, "frames": [], "x": "x".repeat(10 << 20)});
    let answer = app.post("/agent/v1/exchange").body(&large).device(&device).send().await;
    answer.refused(413, "request.body_too_large");
    let many = json!({"wait_seconds": 0, "frames": vec![json!({"type": "beat", "gauges": {}}); 65]});
    let answer = app.post("/agent/v1/exchange").body(&many).device(&device).send().await;
    answer.refused_at(400, "request.invalid", "/frames");
    assert_eq!(digest(&app).await, before);
}
