//! Plans over HTTP.

use serde_json::{Value, json};

use super::support::App;

const PATH: &str = "/api/v1/plans";

fn nightly() -> Value {
    json!({"name": "Nightly", "operation": "shell", "params": {"script": "true"}, "targets": {"all": true},
        "schedule": {"type": "cron", "cron": "0  3 * * *", "zone": "europe/berlin"},
        "missed": {"policy": "run_once", "within_seconds": 3_600}, "spread_seconds": 600})
}

#[tokio::test]
async fn a_plan_is_made_changed_started_and_deleted() {
    let (app, admin) = App::with_admin().await;
    app.device(&admin, "web-1").await;
    let made = app.post(PATH).token(&admin).body(&nightly()).send().await.expect(201);
    assert_eq!(made.header("etag"), Some("\"1\""));
    assert_eq!(made.str("/in_words"), "every day at 03:00 Europe/Berlin");
    assert_eq!(made.json()["last"], Value::Null);
    let again = app.post(PATH).token(&admin).body(&nightly()).send().await;
    assert_eq!(again.code(), "plan.name_taken");
    let path = format!("{PATH}/{}", made.str("/id"));

    let patch = |change: Value| {
        app.patch(&path)
            .token(&admin)
            .header("if-match", "*")
            .body(&change)
            .send()
    };
    let off = patch(json!({"enabled": false, "timeout_seconds": 60}))
        .await
        .expect(200)
        .json();
    assert_eq!((&off["next_at"], &off["timeout_seconds"]), (&Value::Null, &json!(60)));
    assert_eq!(off["schedule"]["cron"], "0 3 * * *");
    // Null takes away, and what is absent stays.
    let by_hand = patch(json!({"schedule": null, "timeout_seconds": null}))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&by_hand["schedule"], &by_hand["timeout_seconds"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(by_hand["spread_seconds"], 600);
    patch(json!({"spread_seconds": 100_000}))
        .await
        .refused_at(400, "request.invalid", "/spread_seconds");

    let start = || {
        let start = app.post(&format!("{path}/start")).token(&admin);
        start.header("idempotency-key", "tonight").send()
    };
    let batch = start().await.expect(201);
    assert_eq!(batch.str("/plan"), made.str("/id"));
    assert_eq!(batch.json()["cause"], "manual");
    assert_eq!(start().await.expect(201).str("/id"), batch.str("/id"));
    let list = app
        .get(&format!("/api/v1/batches?plan={}", made.str("/id")))
        .token(&admin);
    assert_eq!(
        list.send().await.expect(200).json()["items"].as_array().unwrap().len(),
        1
    );

    app.delete(&path).token(&admin).send().await.expect(204);
    assert_eq!(app.get(&path).token(&admin).send().await.code(), "plan.not_found");
    assert_eq!(start().await.code(), "plan.not_found");
}

#[tokio::test]
async fn a_plan_is_tried_again_as_its_policy_says_until_null_takes_it_away() {
    let (app, admin) = App::with_admin().await;
    let new = json!({"name": "Inventory", "operation": "inventory.refresh", "targets": {"query": "os exists"},
        "retry": {"attempts": 2, "on": ["lost", "failed", "lost"]}});
    let made = app.post(PATH).token(&admin).body(&new).send().await.expect(201);
    assert_eq!(
        made.json()["retry"],
        json!({"attempts": 2, "delay_seconds": 60, "max_delay_seconds": 3_600, "on": ["failed", "lost"]})
    );
    assert_eq!(made.json()["targets"], json!({"query": "os exists"}));
    let path = format!("{PATH}/{}", made.str("/id"));
    let patch = |change: Value| {
        app.patch(&path)
            .token(&admin)
            .header("if-match", "*")
            .body(&change)
            .send()
    };
    let script = json!({"operation": "shell", "params": {"script": "true"}});
    let refused = patch(script).await;
    refused.refused_at(400, "batch.retry_not_idempotent", "/retry");
    let refused = patch(json!({"targets": {"query": "os equals"}})).await;
    refused.refused_at(400, "device_group.query_invalid", "/targets/query");
    assert_eq!(made.json()["priority"], "normal");
    let urgent = patch(json!({"priority": "high"})).await.expect(200);
    assert_eq!(urgent.json()["priority"], "high");
    let refused = patch(json!({"priority": 9})).await;
    assert_eq!(refused.status, 400);
    let taken = patch(json!({"retry": null})).await.expect(200);
    assert_eq!(taken.json()["retry"], Value::Null);
}
