//! Secrets among the parameters of work: they go in, and come out nowhere.

use serde_json::{Value, json};

use super::support::App;

const SECRET: &str = "correct horse battery";

/// A secret is in no answer of the API, whatever is asked.
#[tokio::test]
async fn a_secret_is_in_no_answer() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web-1").await.id.to_string();
    let params = json!({"name": "office", "ssid": "Office", "psk": SECRET});
    let action = json!({"name": "Office", "operation": "wifi", "params": params});
    let plan = json!({"name": "Office", "operation": "wifi", "params": params, "targets": {"devices": [device]}});
    let batch = json!({"operation": "wifi", "params": params, "targets": {"devices": [device]}, "approvals": 1});
    let mut ids = Vec::new();
    for (path, body) in [("actions", &action), ("plans", &plan), ("batches", &batch)] {
        let made = app
            .post(&format!("/api/v1/{path}"))
            .token(&admin)
            .body(body)
            .send()
            .await
            .expect(201);
        assert_eq!(made.str("/params/psk"), "********", "{path}");
        assert!(!made.text.contains(SECRET), "{path}");
        ids.push(made.str("/id"));
    }
    let assignment = json!({"assignments": [{"source": {"type": "action", "id": ids[0]}, "mode": "required",
        "target": {"type": "device", "id": device}}]});
    app.post("/api/v1/assignments")
        .token(&admin)
        .body(&assignment)
        .send()
        .await
        .expect(201);
    app.fleet.desired().manifests().keep_current().await.unwrap();
    let manifest = app
        .get(&format!("/api/v1/devices/{device}/manifest"))
        .token(&admin)
        .send()
        .await
        .expect(200);
    assert_eq!(manifest.str("/groups/0/occurrences/0/params/psk"), "********");
    for path in [
        "actions".to_owned(),
        "plans".to_owned(),
        "batches".to_owned(),
        "runs".to_owned(),
        "approvals".to_owned(),
        "audit-entries".to_owned(),
        format!("devices/{device}/manifest"),
        format!("devices/{device}/manifest/events"),
    ] {
        let shown = app
            .get(&format!("/api/v1/{path}"))
            .token(&admin)
            .send()
            .await
            .expect(200);
        assert!(
            !shown.text.contains(SECRET) && !shown.text.contains("$secret"),
            "{path}: {}",
            shown.text
        );
    }
}

#[tokio::test]
async fn what_is_shown_can_be_sent_back_and_a_reference_cannot() {
    let (app, admin) = App::with_admin().await;
    let params = json!({"name": "office", "ssid": "Office", "psk": SECRET});
    let action = json!({"name": "Office", "operation": "wifi", "params": params});
    let made = app
        .post("/api/v1/actions")
        .token(&admin)
        .body(&action)
        .send()
        .await
        .expect(201);
    let path = format!("/api/v1/actions/{}", made.str("/id"));
    let change = |params: Value| {
        let (app, path, admin) = (&app, &path, &admin);
        async move {
            app.patch(path)
                .token(admin)
                .header("if-match", "*")
                .body(&json!({"params": params}))
                .send()
                .await
        }
    };
    let shown = made.json()["params"].clone();
    assert_eq!(change(shown).await.expect(200).json()["generation"], 1);
    let other = json!({"name": "office", "ssid": "Office", "psk": {"$secret": made.str("/id")}});
    change(other)
        .await
        .refused_at(400, "operation.secret_reference", "/params/psk");
    let none = json!({"name": "office", "ssid": "Office", "psk": null});
    change(none).await.refused(400, "operation.params_invalid");
}
