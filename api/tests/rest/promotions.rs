//! Work that looks first, over HTTP.

use fleet_core::{
    devices::DeviceId,
    kernel::{SeededRandom, SigningKey, Timestamp},
    protocol::{Finished, RunResult},
    work::RunId,
};
use serde_json::{Value, json};

use super::support::App;

/// A device does its dry run, which comes to that.
async fn look(app: &App, device: &str, run: &str, changed: bool) {
    let (device, run): (DeviceId, RunId) = (device.parse().unwrap(), run.parse().unwrap());
    let delivery = app.fleet.delivery();
    let dispatch = SigningKey::generate(&SeededRandom::new(9));
    delivery.pending(device, 1, &dispatch).await.unwrap();
    let finished = Finished {
        run,
        result: RunResult::Succeeded,
        exit_code: None,
        signal: None,
        code: None,
        message: None,
        changed: Some(changed),
        summary: None,
        started_at: None,
        finished_at: Timestamp::from_seconds(0),
        chunks: 0,
        truncated_bytes: 0,
    };
    delivery.finished(device, finished).await.unwrap();
}

async fn runs(app: &App, admin: &str, batch: &str) -> Vec<Value> {
    let runs = app.get(&format!("/api/v1/runs?batch={batch}")).token(admin);
    let runs = runs.send().await.expect(200).json();
    runs["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_dry_run_is_counted_agreed_to_and_done_for_real() {
    let (app, admin) = App::with_admin().await;
    for name in ["web-1", "web-2"] {
        app.device(&admin, name).await;
    }
    let make = |body: Value| app.post("/api/v1/batches").token(&admin).body(&body).send();
    let refresh = json!({"operation": "inventory.refresh", "targets": {"all": true}, "dry_run_first": true});
    make(refresh)
        .await
        .refused_at(400, "operation.no_dry_run", "/dry_run_first");
    let params = json!({"path": "/etc/motd", "content": "Welcome\n"});
    let mut asked = json!({"operation": "file", "params": params, "targets": {"all": true}, "dry_run_first": true});
    asked["params"]["dry_run"] = true.into();
    make(asked.clone())
        .await
        .refused_at(400, "request.invalid", "/params/dry_run");
    asked["params"] = params.clone();
    let batch = make(asked).await.expect(201);
    let terms = json!({"start_at": null, "ignores_windows": false, "approvals": 0, "rollout": null, "retry": null});
    let looking =
        json!({"standing": "looking", "outcome": null, "approval": null, "promoted_to": null, "terms": terms});
    assert_eq!(batch.json()["promotion"], looking);
    assert_eq!(batch.json()["params"]["dry_run"], true);

    let dry = batch.str("/id");
    for run in runs(&app, &admin, &dry).await {
        let would_change = run["device_name"] == "web-2";
        look(
            &app,
            run["device"].as_str().unwrap(),
            run["id"].as_str().unwrap(),
            would_change,
        )
        .await;
    }
    let job = app
        .fleet
        .jobs()
        .iter()
        .find(|job| job.name == "work.promotions")
        .unwrap();
    (job.tick)(app.fleet.clone()).await.unwrap();
    let path = format!("/api/v1/batches/{dry}");
    let shown = app.get(&path).token(&admin).send().await.expect(200);
    let outcome = json!({"would_change": 1, "unchanged": 1, "unknown": 0, "not_concerned": 0, "failed": 0});
    assert_eq!(shown.json()["promotion"]["outcome"], outcome);
    let path = format!("/api/v1/approvals/{}", shown.str("/promotion/approval"));
    let approval = app.get(&path).token(&admin).send().await.expect(200).json();
    assert_eq!((&approval["dry_run"], &approval["params"]), (&outcome, &params));
    assert_eq!(
        (&approval["runs"], &approval["requester_may_agree"]),
        (&json!(1), &json!(true))
    );

    let approve = app.post(&format!("{path}/approve")).token(&admin).body(&json!({}));
    assert_eq!(approve.send().await.expect(200).json()["standing"], "approved");
    let path = format!("/api/v1/batches/{dry}");
    let shown = app.get(&path).token(&admin).send().await.expect(200);
    assert_eq!(shown.json()["promotion"]["standing"], "promoted");
    let real = shown.str("/promotion/promoted_to");
    let path = format!("/api/v1/batches/{real}");
    let made = app.get(&path).token(&admin).send().await.expect(200).json();
    assert_eq!(
        (&made["cause"], &made["promoted_from"]),
        (&json!("promotion"), &json!(dry))
    );
    assert_eq!((&made["params"], &made["runs"]), (&params, &json!(1)));
    assert_eq!(runs(&app, &admin, &real).await[0]["device_name"], "web-2");
}
