use fleet_api::ApiConfig;
use fleet_core::devices::enrolment::TokenText;
use serde_json::{Value, json};

use crate::{
    support::{App, PASSWORD},
    world::{column, refused},
};

const PATH: &str = "/api/v1/enrolment-tokens";

#[tokio::test]
async fn the_text_of_a_token_is_shown_once() {
    let (app, admin) = App::with_admin().await;
    let new = json!({"name": "web", "max_uses": 3, "labels": {"site": "bonn"}});
    let made = app.post(PATH).token(&admin).body(&new).send().await.expect(201);
    let text = TokenText::decode(&made.str("/token")).unwrap();
    assert_eq!(text.address, "http://127.0.0.1:8080");
    assert_eq!(text.identity, app.fleet.keys().identity().public());
    assert_eq!(made.str("/prefix"), text.secret.prefix());

    let path = format!("{PATH}/{}", made.str("/id"));
    for shown in [PATH, &path] {
        let shown = app.get(shown).token(&admin).send().await.expect(200);
        assert!(!shown.text.contains(&*text.secret.reveal()), "{}", shown.text);
    }
    let shown = app.get(&path).token(&admin).send().await.json();
    assert_eq!(
        (&shown["state"], &shown["uses"], &shown["max_uses"], &shown["labels"]),
        (&json!("usable"), &json!(0), &json!(3), &json!({"site": "bonn"}))
    );
}

#[tokio::test]
async fn revoked_tokens_stay_in_the_list_and_can_be_left_out() {
    let (app, admin) = App::with_admin().await;
    let mut paths = Vec::new();
    for name in ["old", "new"] {
        let new = json!({ "name": name });
        let made = app.post(PATH).token(&admin).body(&new).send().await.expect(201);
        paths.push(format!("{PATH}/{}", made.str("/id")));
        app.advance(1);
    }
    for _ in 0..2 {
        app.delete(&paths[0]).token(&admin).send().await.expect(204);
    }
    for (query, expected) in [
        ("", &["new", "old"][..]),
        ("?usable=false", &["new", "old"]),
        ("?usable=true", &["new"]),
    ] {
        let list = app
            .get(&format!("{PATH}{query}"))
            .token(&admin)
            .send()
            .await
            .expect(200);
        assert_eq!(column(&list, "/name"), expected, "{query}");
    }
    let all = app.get(PATH).token(&admin).send().await;
    assert_eq!(column(&all, "/state"), ["usable", "revoked"]);
    let unknown = app.get(&format!("{PATH}?state=used")).token(&admin).send().await;
    unknown.refused_at(400, "request.parameter_unknown", "state");
}

#[tokio::test]
async fn a_token_that_cannot_be_is_refused() {
    let (app, admin) = App::with_admin().await;
    // The session is noted as seen before anything is compared.
    app.get(PATH).token(&admin).send().await.expect(200);
    let nobody = "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41";
    for (body, status, code) in [
        (json!({"max_uses": 0}), 400, "request.invalid"),
        (json!({"max_uses": -1}), 400, "request.invalid"),
        (json!({"expires_in_seconds": 59}), 400, "request.invalid"),
        (json!({"expires_in_seconds": Value::Null}), 400, "request.invalid"),
        (json!({"labels": {"A": ""}}), 400, "device.label_invalid"),
        (json!({"groups": [nobody]}), 404, "device_group.not_found"),
        (json!({"daily_uses": 0}), 400, "request.invalid"),
        (json!({"networks": ["10.0.0.1/8"]}), 400, "request.invalid"),
        (json!({"networks": "10.0.0.0/8"}), 400, "request.invalid"),
        (json!({"secret": "mine"}), 400, "request.invalid"),
    ] {
        refused(&app, app.post(PATH).token(&admin).body(&body), status, code).await;
    }
    let path = format!("{PATH}/{nobody}");
    for method in ["GET", "DELETE"] {
        let call = app.call(method, &path).token(&admin);
        refused(&app, call, 404, "enrolment_token.not_found").await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_know_its_address_makes_no_token() {
    for public_url in ["", "fleet.example.org", "ftp://fleet.example.org"] {
        let config = ApiConfig {
            public_url: public_url.to_owned(),
            ..ApiConfig::default()
        };
        let app = App::with(config).await;
        let claim = json!({"token": app.bootstrap_token().await, "name": "ada", "password": PASSWORD});
        app.post("/api/v1/bootstrap").body(&claim).send().await.expect(201);
        let admin = app.sign_in("ada").await;
        app.get(PATH).token(&admin).send().await.expect(200);
        let call = app.post(PATH).token(&admin).body(&json!({}));
        refused(&app, call, 503, "server.public_url_invalid").await;
        // Whoever may not make one is told that, and nothing of the server.
        let viewer = app.user(&admin, "vic", "viewer").await;
        let call = app.post(PATH).token(&viewer).body(&json!({}));
        refused(&app, call, 403, "access.denied").await;
    }
}

#[tokio::test]
async fn where_agents_have_a_port_of_their_own_a_token_leads_there_and_says_whose_certificate_it_has() {
    let config = ApiConfig {
        public_url: "https://fleet.example.org".to_owned(),
        agents_url: Some("https://fleet.example.org:8443".to_owned()),
        ..ApiConfig::default()
    };
    let app = App::with(config).await;
    let claim = json!({"token": app.bootstrap_token().await, "name": "ada", "password": PASSWORD});
    app.post("/api/v1/bootstrap").body(&claim).send().await.expect(201);
    let admin = app.sign_in("ada").await;
    let made = app.post(PATH).token(&admin).body(&json!({})).send().await.expect(201);
    let text = TokenText::decode(&made.str("/token")).unwrap();
    assert_eq!(text.address, "https://fleet.example.org:8443");
    assert_eq!(text.ca, Some(app.fleet.certificates().fingerprint()));
}
