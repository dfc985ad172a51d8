//! Signing in and out: what strangers learn, how often they may try, and when a session is over.

use fleet_api::ApiConfig;
use serde_json::{Value, json};

use super::support::{Answer, App, PASSWORD};

async fn sign_in(app: &App, name: &str, password: &str) -> Answer {
    let body = json!({"name": name, "password": password});
    app.post("/api/v1/sessions").body(&body).send().await
}

/// Everything of an answer but what names the request.
fn shape(answer: &Answer) -> (u16, Vec<String>, Value) {
    let mut headers: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
    headers.sort_unstable();
    let mut body = answer.json();
    body["request_id"] = Value::Null;
    (answer.status, headers, body)
}

#[tokio::test]
async fn a_refusal_does_not_tell_what_was_wrong() {
    let (app, admin) = App::with_admin().await;
    app.user(&admin, "disabled", "viewer").await;
    let found = app
        .get("/api/v1/users?search=disabled")
        .token(&admin)
        .send()
        .await
        .expect(200);
    let path = format!("/api/v1/users/{}", found.str("/items/0/id"));
    let change = app
        .patch(&path)
        .token(&admin)
        .header("if-match", "*")
        .body(&json!({"disabled": true}));
    change.send().await.expect(200);
    let new = json!({"name": "no-password", "role": "viewer"});
    app.post("/api/v1/users")
        .token(&admin)
        .body(&new)
        .send()
        .await
        .expect(201);

    let wrong_password = sign_in(&app, "ada", "not the password").await;
    wrong_password.refused(401, "auth.credentials_invalid");
    for (name, password) in [
        ("nobody-of-this-name", PASSWORD),
        ("disabled", PASSWORD),
        ("no-password", PASSWORD),
        ("", ""),
    ] {
        let refused = sign_in(&app, name, password).await;
        assert_eq!(shape(&refused), shape(&wrong_password), "{name}");
    }
}

#[tokio::test]
async fn too_many_failures_lock_an_account_for_a_while() {
    let (app, _) = App::with_admin().await;
    for _ in 0..5 {
        sign_in(&app, "ada", "not the password")
            .await
            .refused(401, "auth.credentials_invalid");
    }
    let locked = sign_in(&app, "ada", PASSWORD).await;
    locked.refused(429, "auth.locked");
    assert_eq!(locked.header("retry-after"), Some("60"));
    // A name that nobody has is locked just the same.
    for _ in 0..5 {
        sign_in(&app, "nobody-of-this-name", PASSWORD)
            .await
            .refused(401, "auth.credentials_invalid");
    }
    sign_in(&app, "nobody-of-this-name", PASSWORD)
        .await
        .refused(429, "auth.locked");
    app.advance(60);
    sign_in(&app, "ada", PASSWORD).await.expect(201);
}

#[tokio::test]
async fn tries_are_limited_by_address_before_the_body_is_read() {
    let app = App::new().await;
    for (path, burst, wait) in [
        ("/api/v1/sessions", 30, "2"),
        ("/api/v1/bootstrap", 10, "6"),
        ("/agent/v1/enrol", 1_000, "1"),
    ] {
        for n in 0..burst {
            assert_eq!(
                app.post(path).from("203.0.113.9").send().await.status,
                415,
                "{path} {n}"
            );
        }
        let refused = app.post(path).from("203.0.113.9").send().await;
        refused.refused(429, "request.rate_limited");
        assert_eq!(refused.header("retry-after"), Some(wait));
        assert_eq!(app.post(path).from("203.0.113.10").send().await.status, 415, "{path}");
    }
    app.advance(6);
    assert_eq!(
        app.post("/api/v1/bootstrap").from("203.0.113.9").send().await.status,
        415
    );
}

#[tokio::test]
async fn a_session_ends_by_disuse_by_its_user_and_by_its_administrator() {
    let (app, admin) = App::with_admin().await;
    let me = |token: String| {
        let app = &app;
        async move { app.get("/api/v1/me").token(&token).send().await }
    };

    let left = app.user(&admin, "leaver", "viewer").await;
    let stays = app.sign_in("leaver").await;
    app.delete("/api/v1/sessions/current")
        .token(&left)
        .send()
        .await
        .expect(204);
    me(left).await.refused(401, "auth.required");
    let session = me(stays.clone()).await.expect(200).str("/session");

    let path = format!("/api/v1/sessions/{session}");
    app.delete(&path).token(&admin).send().await.expect(204);
    me(stays).await.refused(401, "auth.required");
    app.delete(&path)
        .token(&admin)
        .send()
        .await
        .refused(404, "session.not_found");

    app.advance(24 * 60 * 60 - 1);
    me(admin.clone()).await.expect(200);
    app.advance(24 * 60 * 60);
    let over = me(admin).await;
    over.refused(401, "auth.session_expired");
    assert_eq!(over.header("www-authenticate"), Some("Bearer realm=\"fleet\""));
}

#[tokio::test]
async fn somebody_elses_session_is_not_found() {
    let (app, admin) = App::with_admin().await;
    let viewer = app.user(&admin, "victor", "viewer").await;
    let session = app
        .get("/api/v1/me")
        .token(&admin)
        .send()
        .await
        .expect(200)
        .str("/session");
    let path = format!("/api/v1/sessions/{session}");
    app.delete(&path)
        .token(&viewer)
        .send()
        .await
        .refused(404, "session.not_found");
    app.get("/api/v1/me").token(&admin).send().await.expect(200);
    let user = app.get("/api/v1/me").token(&admin).send().await.str("/user/id");
    let others = format!("/api/v1/sessions?user={user}");
    app.get(&others)
        .token(&viewer)
        .send()
        .await
        .refused(403, "access.denied");
}

#[tokio::test]
async fn what_is_no_token_opens_nothing() {
    let (app, admin) = App::with_admin().await;
    let bootstrap = admin.replace("fls1_", "fla1_");
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Basic YWRhOmFkYQ==",
        "Bearer fls1_",
        &format!("Bearer {}", &admin[..admin.len() - 1]),
        &format!("Bearer {bootstrap}"),
        &format!("Bearer {admin} {admin}"),
        &admin,
    ] {
        let call = app.get("/api/v1/me").header("authorization", value);
        call.send().await.refused(401, "auth.required");
    }
    let lower_case = app
        .get("/api/v1/me")
        .header("authorization", &format!("bearer {admin}"));
    lower_case.send().await.expect(200);
}

#[tokio::test]
async fn the_first_administrator_is_claimed_once_and_the_token_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bootstrap-token");
    std::fs::write(&file, "the token").unwrap();
    let app = App::with(ApiConfig {
        bootstrap_token_file: Some(file.clone()),
        ..ApiConfig::default()
    })
    .await;
    let token = app.bootstrap_token().await;
    let claim = |token: &str, password: &str| {
        let body = json!({"token": token, "name": "Ada", "password": password});
        app.post("/api/v1/bootstrap").body(&body).send()
    };

    claim("fla1_wrong", PASSWORD)
        .await
        .refused(401, "auth.bootstrap_invalid");
    claim(&token, "short")
        .await
        .refused_at(400, "request.invalid", "/password");
    assert!(file.exists(), "a claim that failed used nothing up");
    let user = claim(&token, PASSWORD).await.expect(201);
    assert_eq!(
        (user.str("/name"), user.str("/role")),
        ("ada".to_owned(), "admin".to_owned())
    );
    assert!(!file.exists());
    claim(&token, PASSWORD).await.refused(401, "auth.bootstrap_invalid");
    app.sign_in("ADA").await;
}
