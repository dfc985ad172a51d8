use fleet_core::{
    devices::enrolment::{EnrolRequest, EnrolmentSecret, Machine, TokenText},
    kernel::{PublicKey, SigningKey, canonical},
    protocol::EnrolAnswer,
};
use serde_json::{Value, json};

use crate::{
    support::App,
    world::{digest, refused, refused_enrolment},
};

const PATH: &str = "/agent/v1/enrol";

/// A new token: its secret, and its path.
async fn token(app: &App, admin: &str, new: Value) -> (EnrolmentSecret, String) {
    let made = app
        .post("/api/v1/enrolment-tokens")
        .token(admin)
        .body(&new)
        .send()
        .await;
    let made = made.expect(201);
    let text = TokenText::decode(&made.str("/token")).unwrap();
    (text.secret, format!("/api/v1/enrolment-tokens/{}", made.str("/id")))
}

fn request(app: &App, secret: &EnrolmentSecret) -> Value {
    serde_json::to_value(app.enrol_request(secret.clone(), "web").1).unwrap()
}

#[tokio::test]
async fn a_machine_with_a_token_becomes_a_device_once() {
    let (app, admin) = App::with_admin().await;
    let (secret, path) = token(&app, &admin, json!({})).await;
    let request = request(&app, &secret);
    let first = app.post(PATH).body(&request).send().await.expect(201);
    let identity = app.fleet.keys().identity().public();
    let key: PublicKey = serde_json::from_value(request["public_key"].clone()).unwrap();
    let read = |text: &str| {
        let answer: EnrolAnswer = serde_json::from_str(text).unwrap();
        assert!(answer.verify(&identity, request["nonce"].as_str().unwrap(), &key));
        answer.body
    };
    let enrolled = read(&first.text);
    assert_eq!((enrolled.name.as_str(), enrolled.known), ("web", false));

    let before = digest(&app).await;
    let repeat = app.post(PATH).body(&request).send().await.expect(201);
    let repeat = read(&repeat.text);
    assert_eq!((repeat.device, repeat.known), (enrolled.device, true));
    assert_eq!(digest(&app).await, before, "a repeat writes nothing");
    let token = app.get(&path).token(&admin).send().await.json();
    assert_eq!((&token["uses"], &token["state"]), (&json!(1), &json!("used")));
}

#[tokio::test]
async fn a_token_that_is_wrong_used_expired_or_revoked_enrols_nobody() {
    let (app, admin) = App::with_admin().await;
    let (used, _) = token(&app, &admin, json!({})).await;
    app.post(PATH).body(&request(&app, &used)).send().await.expect(201);
    let (expired, _) = token(&app, &admin, json!({"expires_in_seconds": 60})).await;
    app.advance(60);
    let (revoked, path) = token(&app, &admin, json!({})).await;
    app.delete(&path).token(&admin).send().await.expect(204);
    let wrong = EnrolmentSecret::generate(&*app.random);
    for (secret, status, code) in [
        (wrong, 401, "enrolment.token_unknown"),
        (used, 403, "enrolment.token_used"),
        (expired, 403, "enrolment.token_expired"),
        (revoked, 403, "enrolment.token_revoked"),
    ] {
        let call = app.post(PATH).body(&request(&app, &secret));
        refused_enrolment(&app, call, status, code).await;
    }
}

#[tokio::test]
async fn who_does_not_have_the_key_enrols_nobody() {
    let (app, admin) = App::with_admin().await;
    let (secret, _) = token(&app, &admin, json!({"max_uses": 9})).await;
    let good = request(&app, &secret);
    let other = serde_json::to_value(SigningKey::generate(&*app.random).public()).unwrap();
    for (member, value) in [
        ("public_key", other),
        ("nonce", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
        (
            "secret",
            serde_json::to_value(EnrolmentSecret::generate(&*app.random)).unwrap(),
        ),
    ] {
        let mut request = good.clone();
        request[member] = value;
        let call = app.post(PATH).body(&request);
        refused_enrolment(&app, call, 401, "enrolment.proof_invalid").await;
    }
}

#[tokio::test]
async fn a_copied_disk_is_told_from_its_original() {
    let (app, admin) = App::with_admin().await;
    let (secret, _) = token(&app, &admin, json!({"max_uses": 9})).await;
    let key = SigningKey::generate(&*app.random);
    let enrol = |machine_id: &str| {
        let machine = Machine {
            hostname: "web".to_owned(),
            machine_id: Some(machine_id.to_owned()),
            agent_version: "1.0.0".to_owned(),
        };
        serde_json::to_value(EnrolRequest::prove(secret.clone(), &key, [9; 32], machine)).unwrap()
    };
    app.post(PATH).body(&enrol("one")).send().await.expect(201);
    let call = app.post(PATH).body(&enrol("two"));
    refused_enrolment(&app, call, 409, "enrolment.key_in_use").await;
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_refused_by_the_member() {
    let (app, admin) = App::with_admin().await;
    let (secret, _) = token(&app, &admin, json!({"max_uses": 9})).await;
    let good = request(&app, &secret);
    for (member, value) in [
        ("secret", json!("short")),
        ("public_key", json!("x")),
        ("nonce", json!("AAAA")),
        ("proof", Value::Null),
        ("hostname", json!(5)),
        ("machine_id", json!("a b")),
    ] {
        let mut request = good.clone();
        request[member] = value;
        let answer = refused(&app, app.post(PATH).body(&request), 400, "request.invalid").await;
        assert_eq!(answer.str("/errors/0/pointer"), format!("/{member}"));
        assert!(!answer.text.contains(&*secret.reveal()));
    }
    let text = canonical::to_vec(&good).unwrap();
    let plain = app.post(PATH).header("content-type", "text/plain").bytes(text.clone());
    refused(&app, plain, 415, "request.content_type_unsupported").await;
    let cut = app
        .post(PATH)
        .header("content-type", "application/json")
        .bytes(text[..40].to_vec());
    refused(&app, cut, 400, "request.json_syntax").await;
    let mut large = good;
    large["hostname"] = json!("x".repeat(10 << 20));
    refused(&app, app.post(PATH).body(&large), 413, "request.body_too_large").await;
}

#[tokio::test]
async fn a_token_is_bound_to_networks_and_to_a_number_a_day() {
    let (app, admin) = App::with_admin().await;
    let (far, _) = token(&app, &admin, json!({"networks": ["203.0.113.0/24"]})).await;
    let call = app.post(PATH).from("198.51.100.1").body(&request(&app, &far));
    refused_enrolment(&app, call, 403, "enrolment.address_refused").await;

    let new = json!({"max_uses": 9, "daily_uses": 1, "networks": ["0.0.0.0/0", "::/0"]});
    let (secret, path) = token(&app, &admin, new).await;
    app.post(PATH)
        .from("198.51.100.1")
        .body(&request(&app, &secret))
        .send()
        .await
        .expect(201);
    let call = app.post(PATH).from("198.51.100.1").body(&request(&app, &secret));
    let answer = refused_enrolment(&app, call, 429, "enrolment.quota_reached").await;
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(wait <= 86_400);
    let shown = app.get(&path).token(&admin).send().await.json();
    assert_eq!((&shown["uses_today"], &shown["daily_uses"]), (&json!(1), &json!(1)));
    assert_eq!(shown["networks"], json!(["0.0.0.0/0", "::/0"]));
}

#[tokio::test]
async fn a_new_device_waits_is_let_in_or_turned_away() {
    let (app, admin) = App::with_admin().await;
    let (one, two) = (app.pending_device(&admin).await, app.pending_device(&admin).await);
    let list = app
        .get("/api/v1/devices?presence=pending")
        .token(&admin)
        .send()
        .await
        .expect(200);
    assert_eq!(list.json()["items"].as_array().unwrap().len(), 2);
    let work = json!({"operation": "shell", "params": {"script": "true"}, "targets": {"devices": [one]}});
    let call = app.post("/api/v1/batches").token(&admin).body(&work);
    refused(&app, call, 403, "device.pending").await;

    let approve = format!("/api/v1/devices/{one}/approve");
    for bad in [json!({"as": "admin"}), json!({"force": true})] {
        let call = app.post(&approve).token(&admin).body(&bad);
        refused(&app, call, 400, "request.invalid").await;
    }
    let call = app.post(&approve).token(&admin).body(&json!({"as": "known"}));
    refused(&app, call, 400, "request.invalid").await;
    let approved = app
        .post(&approve)
        .token(&admin)
        .body(&json!({}))
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&approved["presence"], &approved["pending"]),
        (&json!("never"), &Value::Null)
    );
    let call = app.post(&approve).token(&admin).body(&json!({}));
    refused(&app, call, 409, "device.not_pending").await;

    let reject = format!("/api/v1/devices/{two}/reject");
    app.post(&reject).token(&admin).send().await.expect(204);
    let call = app.post(&reject).token(&admin);
    refused(&app, call, 404, "device.not_found").await;
}

#[tokio::test]
async fn a_pin_is_exchanged_for_a_token_once() {
    let (app, admin) = App::with_admin().await;
    let pins = "/api/v1/enrolment-pins";
    let made = app
        .post(pins)
        .token(&admin)
        .body(&json!({"name": "cellar"}))
        .send()
        .await
        .expect(201);
    assert_eq!(
        (made.str("/server"), made.str("/token/name")),
        ("http://127.0.0.1:8080".into(), "cellar".into())
    );
    let typed = json!({"pin": made.str("/pin")});
    let text = app
        .post("/agent/v1/pin")
        .body(&typed)
        .send()
        .await
        .expect(200)
        .str("/token");
    let token = TokenText::decode(&text).unwrap();
    assert_eq!(token.identity, app.fleet.keys().identity().public());
    app.post(PATH)
        .body(&request(&app, &token.secret))
        .send()
        .await
        .expect(201);
    app.post("/agent/v1/pin")
        .body(&typed)
        .send()
        .await
        .refused(401, "enrolment.pin_wrong");
}

#[tokio::test]
async fn one_address_may_type_three_pins_at_once_and_all_together_thirty() {
    let (app, _) = App::with_admin().await;
    let typed = json!({"pin": "000000"});
    let tried = async |address: &str| app.post("/agent/v1/pin").from(address).body(&typed).send().await;
    for _ in 0..3 {
        tried("198.51.100.1").await.refused(401, "enrolment.pin_wrong");
    }
    tried("198.51.100.1").await.refused(429, "request.rate_limited");
    for n in 2..29 {
        tried(&format!("198.51.100.{n}"))
            .await
            .refused(401, "enrolment.pin_wrong");
    }
    tried("198.51.100.200").await.refused(429, "request.rate_limited");
}
