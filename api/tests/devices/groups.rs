use serde_json::json;

use crate::{
    support::App,
    world::{column, refused},
};

const PATH: &str = "/api/v1/device-groups";

#[tokio::test]
async fn a_group_is_made_changed_filled_and_deleted() {
    let (app, admin) = App::with_admin().await;
    let web = app.device(&admin, "web").await;
    let new = json!({"name": "Front", "description": "behind the balancer"});
    let made = app.post(PATH).token(&admin).body(&new).send().await.expect(201);
    assert_eq!(
        (made.header("etag"), &made.json()["members"]),
        (Some("\"1\""), &json!(0))
    );
    let path = format!("{PATH}/{}", made.str("/id"));

    let change = json!({"name": "Edge"});
    let patch = || app.patch(&path).token(&admin).body(&change);
    let changed = patch().header("if-match", "\"1\"").send().await.expect(200);
    assert_eq!(
        (changed.header("etag"), &*changed.str("/description")),
        (Some("\"2\""), "behind the balancer")
    );
    refused(&app, patch(), 428, "request.precondition_required").await;
    refused(
        &app,
        patch().header("if-match", "\"1\""),
        412,
        "request.precondition_failed",
    )
    .await;

    let member = format!("{path}/devices/{}", web.id);
    for (method, members) in [("PUT", 1), ("PUT", 1), ("DELETE", 0), ("DELETE", 0), ("PUT", 1)] {
        app.call(method, &member).token(&admin).send().await.expect(204);
        let group = app.get(&path).token(&admin).send().await.expect(200);
        assert_eq!(group.json()["members"], members, "{method}");
    }
    let stale = app.delete(&path).token(&admin).header("if-match", "\"1\"");
    refused(&app, stale, 412, "request.precondition_failed").await;
    app.delete(&path).token(&admin).send().await.expect(204);
    refused(&app, app.get(&path).token(&admin), 404, "device_group.not_found").await;
    refused(&app, app.put(&member).token(&admin), 404, "device_group.not_found").await;
    let device = format!("/api/v1/devices/{}", web.id);
    let device = app.get(&device).token(&admin).send().await.expect(200);
    assert_eq!(device.json()["groups"], json!([]));
}

#[tokio::test]
async fn groups_are_listed_by_name() {
    let (app, admin) = App::with_admin().await;
    for name in ["web", "Database", "Webhooks"] {
        let new = json!({ "name": name });
        app.post(PATH).token(&admin).body(&new).send().await.expect(201);
    }
    for (query, expected) in [
        ("", &["Database", "web", "Webhooks"][..]),
        ("?search=WEB", &["web", "Webhooks"]),
    ] {
        let list = app
            .get(&format!("{PATH}{query}"))
            .token(&admin)
            .send()
            .await
            .expect(200);
        assert_eq!(column(&list, "/name"), expected, "{query}");
    }
    let unknown = app.get(&format!("{PATH}?member=x")).token(&admin).send().await;
    unknown.refused_at(400, "request.parameter_unknown", "member");
}

#[tokio::test]
async fn a_group_that_cannot_be_is_refused() {
    let (app, admin) = App::with_admin().await;
    let new = json!({"name": "web"});
    app.post(PATH).token(&admin).body(&new).send().await.expect(201);
    for (body, status, code) in [
        (json!({"name": "WEB"}), 409, "device_group.name_taken"),
        (json!({"name": ""}), 400, "device.name_invalid"),
        (json!({}), 400, "request.invalid"),
        (
            json!({"name": "x", "description": "x".repeat(2_001)}),
            400,
            "request.invalid",
        ),
        (json!({"name": "x", "query": "os=debian"}), 400, "request.invalid"),
    ] {
        refused(&app, app.post(PATH).token(&admin).body(&body), status, code).await;
    }
}
