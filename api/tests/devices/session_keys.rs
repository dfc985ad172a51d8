//! Exchanges that a session key proves in place of the device's key.

use fleet_core::protocol::{KeyAgreement, PROOF_HEADER, SessionKey};
use serde_json::{Value, json};

use crate::{
    support::{Answer, App, Call, Device},
    world::refused,
};

const PATH: &str = "/agent/v1/exchange";

fn hello() -> Value {
    json!({"epoch": null, "wait_seconds": 0, "frames": [{
        "type": "hello", "nonce": "AAAAAAAAAAAAAAAAAAAAAA", "protocol_min": 1, "protocol_max": 1,
        "agent_version": "1.0.0", "operations": [],
    }]})
}

fn beat(epoch: u64) -> Value {
    json!({"epoch": epoch, "wait_seconds": 0, "frames": [{"type": "beat", "gauges": {}}]})
}

/// A device in a session, and the session's number.
async fn connected(app: &App, admin: &str) -> (Device, u64) {
    let device = app.device(admin, "web").await;
    let welcome = app.post(PATH).body(&hello()).device(&device).send().await.expect(200);
    let epoch = welcome.json()["frames"][0]["body"]["epoch"].as_u64().unwrap();
    (device, epoch)
}

/// Asks for a session key with an exchange that may wait for 30 seconds.
async fn agree(app: &App, device: &Device, epoch: u64) -> SessionKey {
    let agreement = KeyAgreement::begin(&*app.random);
    let body = json!({"epoch": epoch, "wait_seconds": 30, "frames": [], "key": agreement.request()});
    let answer = app.post(PATH).body(&body).device(device).send().await.expect(200);
    let key = serde_json::from_value(answer.json()["key"].clone()).unwrap();
    let identity = app.fleet.keys().identity().public();
    agreement.finish(&key, &identity, device.id, epoch).unwrap()
}

fn proved<'a>(app: &'a App, device: &Device, key: &SessionKey, counter: u64, body: &Value) -> Call<'a> {
    let proof = key.prove(device.id, counter, "POST", PATH, &serde_json::to_vec(body).unwrap());
    app.post(PATH).body(body).header(PROOF_HEADER, &proof)
}

#[track_caller]
fn acknowledged(answer: Answer) {
    assert_eq!(answer.expect(200).str("/frames/0/type"), "beat");
}

#[tokio::test]
async fn a_session_key_proves_exchanges_each_once_and_in_order() {
    let (app, admin) = App::with_admin().await;
    let (device, epoch) = connected(&app, &admin).await;
    let key = agree(&app, &device, epoch).await;
    acknowledged(proved(&app, &device, &key, 1, &beat(epoch)).send().await);
    acknowledged(proved(&app, &device, &key, 5, &beat(epoch)).send().await);
    for counter in [1, 4, 5] {
        let again = proved(&app, &device, &key, counter, &beat(epoch));
        refused(&app, again, 401, "proof.invalid").await;
    }
    // A signature counts beside it.
    acknowledged(app.post(PATH).body(&beat(epoch)).device(&device).send().await);
    acknowledged(proved(&app, &device, &key, 6, &beat(epoch)).send().await);
}

#[tokio::test]
async fn a_session_key_proves_nothing_else() {
    let (app, admin) = App::with_admin().await;
    let (device, epoch) = connected(&app, &admin).await;
    let key = agree(&app, &device, epoch).await;
    let bytes = serde_json::to_vec(&beat(epoch)).unwrap();
    let altered = key.prove(device.id, 9, "POST", PATH, b"{}");
    let call = app.post(PATH).bytes(bytes).header(PROOF_HEADER, &altered);
    refused(&app, call, 401, "proof.invalid").await;
    for (method, path) in [("POST", "/agent/v1/reports/memory"), ("GET", "/agent/v1/link")] {
        let proof = key.prove(device.id, 10, method, path, b"");
        let call = app.call(method, path).header(PROOF_HEADER, &proof);
        refused(&app, call, 401, "assertion.invalid").await;
    }
    for text in ["", ".", "nonsense", &"A".repeat(4_000)] {
        let call = app.post(PATH).body(&beat(epoch)).header(PROOF_HEADER, text);
        refused(&app, call, 401, "proof.invalid").await;
    }
    acknowledged(proved(&app, &device, &key, 1, &beat(epoch)).send().await);
}

#[tokio::test]
async fn a_session_key_ends_with_time_session_and_trust() {
    let (app, admin) = App::with_admin().await;
    let (device, epoch) = connected(&app, &admin).await;
    let key = agree(&app, &device, epoch).await;
    app.advance(600);
    let call = proved(&app, &device, &key, 1, &beat(epoch));
    refused(&app, call, 401, "proof.invalid").await;

    let key = agree(&app, &device, epoch).await;
    app.post(PATH).body(&hello()).device(&device).send().await.expect(200);
    let call = proved(&app, &device, &key, 1, &beat(epoch));
    refused(&app, call, 401, "proof.invalid").await;

    let key = agree(&app, &device, epoch + 1).await;
    let path = format!("/api/v1/devices/{}", device.id);
    let disable = json!({"disabled": true});
    let call = app.patch(&path).token(&admin).header("if-match", "*").body(&disable);
    call.send().await.expect(200);
    let call = proved(&app, &device, &key, 1, &beat(epoch + 1));
    refused(&app, call, 403, "device.disabled").await;
    app.delete(&path).token(&admin).send().await.expect(204);
    let call = proved(&app, &device, &key, 2, &beat(epoch + 1));
    refused(&app, call, 404, "device.gone").await;
}

#[tokio::test]
async fn an_agent_that_asks_for_no_key_is_told_of_none_and_a_key_does_not_beget_the_next() {
    let (app, admin) = App::with_admin().await;
    let (device, epoch) = connected(&app, &admin).await;
    let answer = app
        .post(PATH)
        .body(&beat(epoch))
        .device(&device)
        .send()
        .await
        .expect(200);
    assert_eq!(answer.json().as_object().unwrap().len(), 1, "{}", answer.text);

    let key = agree(&app, &device, epoch).await;
    let mut asking = beat(epoch);
    asking["key"] = serde_json::to_value(KeyAgreement::begin(&*app.random).request()).unwrap();
    let answer = proved(&app, &device, &key, 1, &asking).send().await.expect(200);
    assert!(answer.json().get("key").is_none(), "{}", answer.text);
    acknowledged(proved(&app, &device, &key, 2, &beat(epoch)).send().await);
}
