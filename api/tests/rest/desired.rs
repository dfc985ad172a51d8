//! Desired state over HTTP.

use serde_json::{Value, json};

use super::support::App;

/// Compiles what there is to compile, as the server does right after a change.
async fn keep(app: &App) {
    app.fleet.desired().manifests().keep_current().await.unwrap();
}

async fn action(app: &App, admin: &str, name: &str) -> String {
    let new = json!({"name": name, "operation": "shell", "params": {"script": "true"}});
    app.post("/api/v1/actions")
        .token(admin)
        .body(&new)
        .send()
        .await
        .expect(201)
        .str("/id")
}

async fn assign(app: &App, admin: &str, source: &Value, device: &str, mode: &str) -> String {
    let new = json!({"assignments": [{"source": source, "target": {"type": "device", "id": device}, "mode": mode}]});
    let made = app
        .post("/api/v1/assignments")
        .token(admin)
        .body(&new)
        .send()
        .await
        .expect(201);
    made.str("/items/0/id")
}

#[tokio::test]
async fn of_actions_that_contradict_each_other_it_is_said_which_applies() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web-1").await.id.to_string();
    let mut actions = Vec::new();
    for content in ["first", "second"] {
        let new = json!({"name": content, "operation": "file", "params": {"path": "/etc/motd", "content": content}});
        let made = app.post("/api/v1/actions").token(&admin).body(&new).send().await;
        actions.push(made.expect(201).str("/id"));
    }
    for action in &actions {
        assign(
            &app,
            &admin,
            &json!({"type": "action", "id": action}),
            &device,
            "required",
        )
        .await;
    }
    keep(&app).await;
    let why = format!("/api/v1/devices/{device}/why");
    let why = app.get(&why).token(&admin).send().await.expect(200).json();
    let said: Vec<_> = why["items"].as_array().unwrap().iter().collect();
    let overruled = said.iter().find(|one| one["outcome"] == "not_applied").unwrap();
    let applied = said.iter().find(|one| one["outcome"] != "not_applied").unwrap();
    let by = &overruled["overruled_by"];
    assert_eq!(
        (&by["action"], &by["name"]),
        (&applied["action"], &applied["name"]),
        "{by}"
    );
    assert_eq!(by["subject"], "path:/etc/motd");
    assert!(overruled["in_words"].as_str().unwrap().contains("overruled by"));
    assert_eq!(applied["overruled_by"], Value::Null);
}

#[tokio::test]
async fn what_is_assigned_stands_in_the_manifest_and_is_explained() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web-1").await.id.to_string();
    let (first, second) = (
        action(&app, &admin, "first").await,
        action(&app, &admin, "second").await,
    );
    let set = json!({"name": "Base", "members": [first, second], "on_failure": "stop",
        "rhythm": {"when": {"type": "cron", "cron": "0 3 * * *"}, "on_change": false}});
    let set = app
        .post("/api/v1/action-sets")
        .token(&admin)
        .body(&set)
        .send()
        .await
        .expect(201)
        .str("/id");
    let manifest = format!("/api/v1/devices/{device}/manifest");
    assert_eq!(
        app.get(&manifest).token(&admin).send().await.code(),
        "manifest.not_found"
    );
    assign(
        &app,
        &admin,
        &json!({"type": "action_set", "id": set}),
        &device,
        "required",
    )
    .await;
    let excluded = assign(
        &app,
        &admin,
        &json!({"type": "action", "id": second}),
        &device,
        "excluded",
    )
    .await;
    keep(&app).await;

    let shown = app.get(&manifest).token(&admin).send().await.expect(200).json();
    assert_eq!((&shown["version"], &shown["problem"]), (&json!(1), &Value::Null));
    let group = &shown["groups"][0];
    assert_eq!(group["label"], format!("action_set:{set}"));
    assert_eq!(
        (&group["name"], &group["occurrences"][0]["name"]),
        (&json!("Base"), &json!("first"))
    );
    assert_eq!(group["rhythm"]["when"], json!({"type": "cron", "cron": "0 3 * * *"}));
    assert_eq!(group["occurrences"].as_array().unwrap().len(), 1);
    assert_eq!(group["occurrences"][0]["action"], json!(first));

    let why = format!("/api/v1/devices/{device}/why?action={second}");
    let why = app.get(&why).token(&admin).send().await.expect(200).json();
    assert_eq!(
        why["items"][0]["in_words"],
        "It is not applied: it is assigned to the device as excluded."
    );
    assert_eq!(why["items"][0]["steps"].as_array().unwrap().len(), 2);

    app.delete(&format!("/api/v1/assignments/{excluded}"))
        .token(&admin)
        .send()
        .await
        .expect(204);
    keep(&app).await;
    let shown = app.get(&manifest).token(&admin).send().await.expect(200).json();
    assert_eq!(shown["version"], 2);
    let events = app
        .get(&format!("{manifest}/events"))
        .token(&admin)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(events["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_in_use_is_deleted_by_force_and_changed_only_as_it_was_read() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web-1").await.id.to_string();
    let id = action(&app, &admin, "first").await;
    assign(&app, &admin, &json!({"type": "action", "id": id}), &device, "required").await;
    let path = format!("/api/v1/actions/{id}");
    let change = json!({"name": "other"});
    let patch = || app.patch(&path).token(&admin).body(&change);
    assert_eq!(patch().send().await.code(), "request.precondition_required");
    patch().header("if-match", "\"1\"").send().await.expect(200);
    assert_eq!(
        patch().header("if-match", "\"1\"").send().await.code(),
        "request.precondition_failed"
    );
    assert_eq!(app.delete(&path).token(&admin).send().await.code(), "action.in_use");
    app.delete(&format!("{path}?force=true"))
        .token(&admin)
        .send()
        .await
        .expect(204);
    let left = app
        .get("/api/v1/assignments")
        .token(&admin)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(left["items"], json!([]));
}

#[tokio::test]
async fn what_is_available_is_chosen() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web-1").await.id.to_string();
    let id = action(&app, &admin, "extra").await;
    let source = json!({"type": "action", "id": id});
    let selections = format!("/api/v1/devices/{device}/selections");
    let choose = |selected: bool| {
        let chosen = json!({"source": source, "selected": selected});
        app.put(&selections).token(&admin).body(&chosen).send()
    };
    assert_eq!(choose(true).await.code(), "selection.not_available");
    assign(&app, &admin, &source, &device, "available").await;
    choose(true).await.expect(204);
    let available = format!("/api/v1/devices/{device}/available");
    let shown = app.get(&available).token(&admin).send().await.expect(200).json();
    assert_eq!(
        (&shown["items"][0]["name"], &shown["items"][0]["selected"]),
        (&json!("extra"), &json!(true))
    );
}
