//! API keys: shown once, capped, revocable.

use serde_json::json;

use super::support::App;

#[tokio::test]
async fn a_token_is_shown_once_and_never_again() {
    let (app, admin) = App::with_admin().await;
    let (token, id) = app.key(&admin, "viewer").await;
    app.get("/api/v1/me").token(&token).send().await.expect(200);
    let list = app.get("/api/v1/keys").token(&admin).send().await.expect(200);
    assert_eq!(
        (list.str("/items/0/id"), list.str("/items/0/prefix")),
        (id, token[..11].to_owned())
    );
    let secret = &token[11..];
    for path in [
        "/api/v1/keys",
        "/api/v1/audit-entries",
        "/api/v1/me",
        "/api/v1/sessions",
    ] {
        let answer = app.get(path).token(&admin).send().await.expect(200);
        assert!(!answer.text.contains(secret), "{path}");
    }
}

#[tokio::test]
async fn a_key_does_no_more_than_its_role_and_its_owner() {
    let (app, admin) = App::with_admin().await;
    let operator = app.user(&admin, "olga", "operator").await;
    let mightier = json!({"name": "too much", "role": "admin"});
    let call = app.post("/api/v1/keys").token(&operator).body(&mightier);
    call.send().await.refused(403, "access.denied");

    let (key, _) = app.key(&operator, "operator").await;
    let group = json!({"name": "made by a key"});
    let call = app.post("/api/v1/device-groups").token(&key).body(&group);
    call.send().await.expect(201);
    let me = app
        .get("/api/v1/users?search=olga")
        .token(&admin)
        .send()
        .await
        .expect(200);
    let path = format!("/api/v1/users/{}", me.str("/items/0/id"));
    let change = app
        .patch(&path)
        .token(&admin)
        .header("if-match", "*")
        .body(&json!({"role": "viewer"}));
    change.send().await.expect(200);
    let group = json!({"name": "not any more"});
    let call = app.post("/api/v1/device-groups").token(&key).body(&group);
    call.send().await.refused(403, "access.denied");
}

#[tokio::test]
async fn a_key_ends_by_revocation_by_time_and_with_its_owner() {
    let (app, admin) = App::with_admin().await;
    let me = |token: String| {
        let app = &app;
        async move { app.get("/api/v1/me").token(&token).send().await }
    };

    // A key may always revoke itself.
    let (revoked, id) = app.key(&admin, "viewer").await;
    let path = format!("/api/v1/keys/{id}");
    app.delete(&path).token(&revoked).send().await.expect(204);
    me(revoked).await.refused(401, "auth.required");

    let now = fleet_core::kernel::Clock::now(&*app.clock);
    let until = now.plus(std::time::Duration::from_secs(60));
    let body = json!({"name": "for a minute", "role": "viewer", "expires_at": until});
    let timed = app
        .post("/api/v1/keys")
        .token(&admin)
        .body(&body)
        .send()
        .await
        .expect(201)
        .str("/token");
    me(timed.clone()).await.expect(200);
    app.advance(60);
    me(timed).await.refused(401, "auth.key_expired");

    let viewer = app.user(&admin, "victor", "viewer").await;
    let owner = me(viewer.clone()).await.str("/user/id");
    let (orphan, _) = app.key(&viewer, "viewer").await;
    app.delete(&format!("/api/v1/users/{owner}"))
        .token(&admin)
        .send()
        .await
        .expect(204);
    me(orphan).await.refused(401, "auth.required");
}

#[tokio::test]
async fn people_see_their_own_keys_and_administrators_all() {
    let (app, admin) = App::with_admin().await;
    let viewer = app.user(&admin, "victor", "viewer").await;
    let (_, of_admin) = app.key(&admin, "viewer").await;
    app.advance(1);
    let (_, of_viewer) = app.key(&viewer, "viewer").await;
    let ids = |token: String| {
        let app = &app;
        async move {
            let list = app.get("/api/v1/keys").token(&token).send().await.expect(200).json();
            let items = list["items"].as_array().unwrap().iter();
            items
                .map(|key| key["id"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(ids(admin.clone()).await, [of_admin.clone(), of_viewer.clone()]);
    assert_eq!(ids(viewer.clone()).await, [of_viewer]);
    let call = app.delete(&format!("/api/v1/keys/{of_admin}")).token(&viewer);
    call.send().await.refused(404, "api_key.not_found");
}
