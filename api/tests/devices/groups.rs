use serde_json::{Value, json};

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
        (
            json!({"name": "x", "query": "os=debian"}),
            400,
            "device_group.query_invalid",
        ),
        (
            json!({"name": "x", "query": "device.group equals X"}),
            400,
            "device_group.query_names_itself",
        ),
        (
            json!({"name": "x", "query": "a".repeat(4_097)}),
            400,
            "device_group.query_too_large",
        ),
    ] {
        refused(&app, app.post(PATH).token(&admin).body(&body), status, code).await;
    }
}

#[tokio::test]
async fn a_dynamic_group_shows_its_query_and_takes_no_devices_by_hand() {
    let (app, admin) = App::with_admin().await;
    let web = app.device(&admin, "web-1").await;
    let new = json!({"name": "Web", "query": "name startsWith web"});
    let made = app.post(PATH).token(&admin).body(&new).send().await.expect(201);
    assert_eq!(
        (&made.json()["query"], &made.json()["relies_on_reports"]),
        (&json!("name startsWith web"), &json!(true))
    );
    let path = format!("{PATH}/{}", made.str("/id"));
    let member = format!("{path}/devices/{}", web.id);
    refused(&app, app.put(&member).token(&admin), 400, "device_group.dynamic").await;
    refused(&app, app.delete(&member).token(&admin), 400, "device_group.dynamic").await;
    let patch = |query: &str| {
        let patch = app.patch(&path).token(&admin).header("if-match", "*");
        patch.body(&json!({ "query": query }))
    };
    let changed = patch("name startsWith db").send().await.expect(200);
    assert_eq!(changed.json()["query"], "name startsWith db");
    refused(&app, patch("name startsWith"), 400, "device_group.query_invalid").await;
    let hand_made = app.post(PATH).token(&admin).body(&json!({"name": "By hand"}));
    let hand_made = hand_made.send().await.expect(201);
    assert_eq!(hand_made.json()["query"], json!(null));
    let evaluate = app.post(&format!("{PATH}/{}/evaluate", hand_made.str("/id")));
    refused(&app, evaluate.token(&admin), 400, "device_group.static").await;
}

#[tokio::test]
async fn a_group_loses_its_query_and_gets_another() {
    let (app, admin) = App::with_admin().await;
    let (web, db) = (app.device(&admin, "web-1").await, app.device(&admin, "db-1").await);
    let new = json!({"name": "Web", "query": "name startsWith web"});
    let made = app.post(PATH).token(&admin).body(&new).send().await.expect(201);
    let path = format!("{PATH}/{}", made.str("/id"));
    let evaluate = async || {
        let evaluate = app.post(&format!("{path}/evaluate")).token(&admin);
        let done = evaluate.send().await.expect(200).json();
        (done["added"].clone(), done["removed"].clone())
    };
    assert_eq!(evaluate().await, (json!(1), json!(0)));
    let patch = |tag: &str, query: Value| {
        let patch = app.patch(&path).token(&admin).header("if-match", tag);
        patch.body(&json!({ "query": query }))
    };
    let absent = app.patch(&path).token(&admin).header("if-match", "*");
    let absent = absent
        .body(&json!({"description": "In front"}))
        .send()
        .await
        .expect(200);
    assert_eq!(absent.json()["query"], "name startsWith web", "absent is not null");
    let frozen = patch("\"2\"", Value::Null).send().await.expect(200);
    let shown = frozen.json();
    assert_eq!(
        (&shown["query"], &shown["members"], &shown["settling"]),
        (&json!(null), &json!(1), &json!(true))
    );
    for device in [&web, &db] {
        let member = format!("{path}/devices/{}", device.id);
        app.put(&member).token(&admin).send().await.expect(204);
    }
    refused(&app, patch("\"2\"", json!("")), 412, "request.precondition_failed").await;
    let dynamic = patch("\"3\"", json!("name startsWith db")).send().await.expect(200);
    assert_eq!(
        (&dynamic.json()["query"], &dynamic.json()["members"]),
        (&json!("name startsWith db"), &json!(2))
    );
    assert_eq!(evaluate().await, (json!(0), json!(1)));
}

#[tokio::test]
async fn a_query_is_tried_without_a_group() {
    let (app, admin) = App::with_admin().await;
    app.device(&admin, "web-1").await;
    app.device(&admin, "db-1").await;
    let check = |body: serde_json::Value| {
        app.post(&format!("{PATH}/check-query"))
            .token(&admin)
            .body(&body)
            .send()
    };
    let found = check(json!({"query": "NAME startswith 'web'"})).await.expect(200);
    let body = found.json();
    assert_eq!(
        (
            &body["valid"],
            &body["canonical"],
            &body["matching"],
            &body["looked_at"]
        ),
        (
            &json!(true),
            &json!("device.name startsWith \"web\""),
            &json!(1),
            &json!(2)
        )
    );
    assert_eq!(body["examples"][0]["name"], "web-1");
    let wrong = check(json!({"query": "name startsWith"})).await.expect(200);
    let problem = &wrong.json()["problem"];
    assert_eq!(
        (
            &wrong.json()["valid"],
            &problem["code"],
            &problem["position"],
            &problem["message"]
        ),
        (
            &json!(false),
            &json!("device_group.query_invalid"),
            &json!(15),
            &json!("expected a value")
        )
    );
    check(json!({"query": "", "limit": 101}))
        .await
        .refused_at(400, "request.invalid", "/limit");
}
