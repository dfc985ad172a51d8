//! Users and passwords.

use serde_json::json;

use super::support::{App, PASSWORD};

#[tokio::test]
async fn a_change_names_the_revision_that_it_saw() {
    let (app, admin) = App::with_admin().await;
    let new = json!({"name": "grace", "role": "viewer"});
    let created = app
        .post("/api/v1/users")
        .token(&admin)
        .body(&new)
        .send()
        .await
        .expect(201);
    let (path, tag) = (
        format!("/api/v1/users/{}", created.str("/id")),
        created.header("etag").unwrap().to_owned(),
    );
    let shown = app.get(&path).token(&admin).send().await.expect(200);
    assert_eq!((shown.header("etag"), shown.text.clone()), (Some(&*tag), created.text));

    let change = json!({"display_name": "Grace Hopper"});
    let without = app.patch(&path).token(&admin).body(&change);
    without
        .send()
        .await
        .refused_at(428, "request.precondition_required", "If-Match");
    let call = |tag: &str| {
        app.patch(&path)
            .token(&admin)
            .header("if-match", tag)
            .body(&change)
            .send()
    };
    let changed = call(&tag).await.expect(200);
    assert_ne!(changed.header("etag"), Some(&*tag));
    call(&tag).await.refused(412, "request.precondition_failed");
    let stale = app.delete(&path).token(&admin).header("if-match", &tag);
    stale.send().await.refused(412, "request.precondition_failed");
    app.delete(&path).token(&admin).send().await.expect(204);
    app.get(&path).token(&admin).send().await.refused(404, "user.not_found");
}

#[tokio::test]
async fn ones_own_password_needs_the_present_one_and_keeps_this_session_only() {
    let (app, admin) = App::with_admin().await;
    let other = app.sign_in("ada").await;
    let set = |current: &str, new: &str| {
        let body = json!({"current": current, "new": new});
        app.put("/api/v1/me/password").token(&admin).body(&body).send()
    };
    set("wrong", "a new password of ada's")
        .await
        .refused_at(400, "request.invalid", "/current");
    set(PASSWORD, "short").await.refused_at(400, "request.invalid", "/new");
    set(PASSWORD, PASSWORD).await.refused_at(400, "request.invalid", "/new");
    set(PASSWORD, "quite another sesame").await.expect(204);
    app.get("/api/v1/me").token(&admin).send().await.expect(200);
    app.get("/api/v1/me")
        .token(&other)
        .send()
        .await
        .refused(401, "auth.required");
}

#[tokio::test]
async fn an_administrator_sets_the_passwords_of_others() {
    let (app, admin) = App::with_admin().await;
    let viewer = app.user(&admin, "victor", "viewer").await;
    let id = app.get("/api/v1/me").token(&viewer).send().await.str("/user/id");
    let path = format!("/api/v1/users/{id}/password");
    let set = |password: &str| {
        let body = json!({"password": password});
        app.put(&path).token(&admin).body(&body).send()
    };
    set("short").await.refused_at(400, "request.invalid", "/password");
    set("chosen by an administrator").await.expect(204);
    app.get("/api/v1/me")
        .token(&viewer)
        .send()
        .await
        .refused(401, "auth.required");
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let (app, admin) = App::with_admin().await;
    let me = app.get("/api/v1/me").token(&admin).send().await.expect(200);
    let path = format!("/api/v1/users/{}", me.str("/user/id"));
    let call = app.delete(&path).token(&admin);
    call.send().await.refused(409, "user.last_admin");
    for change in [json!({"role": "viewer"}), json!({"disabled": true})] {
        let call = app.patch(&path).token(&admin).header("if-match", "*").body(&change);
        call.send().await.refused(409, "user.last_admin");
    }
}

#[tokio::test]
async fn everybody_sees_themselves_and_what_they_may_do() {
    let (app, admin) = App::with_admin().await;
    let viewer = app.user(&admin, "victor", "viewer").await;
    let me = app.get("/api/v1/me").token(&viewer).send().await.expect(200);
    assert_eq!(
        (me.str("/user/role"), me.str("/actor/name")),
        ("viewer".to_owned(), "victor".to_owned())
    );
    let path = format!("/api/v1/users/{}", me.str("/user/id"));
    app.get(&path).token(&viewer).send().await.expect(200);

    // The table says the same as the identity.
    let table = app
        .get("/api/v1/permissions")
        .token(&viewer)
        .send()
        .await
        .expect(200)
        .json();
    let lines = table["items"].as_array().unwrap().iter();
    let mut for_viewers: Vec<_> = lines
        .filter(|line| line["least_role"] == "viewer")
        .map(|line| line["permission"].clone())
        .collect();
    for_viewers.sort_unstable_by_key(ToString::to_string);
    assert_eq!(me.json()["permissions"], json!(for_viewers));
    assert!(!for_viewers.is_empty());
}
