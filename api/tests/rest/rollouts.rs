//! Rollouts over HTTP.

use serde_json::{Value, json};

use super::support::App;

fn in_waves(rollout: Value) -> Value {
    json!({"operation": "shell", "params": {"script": "true"}, "targets": {"all": true}, "confirm_devices": 3, "rollout": rollout})
}

#[tokio::test]
async fn a_rollout_is_made_shown_held_let_go_on_and_given_up() {
    let (app, admin) = App::with_admin().await;
    for name in ["web-1", "web-2", "web-3"] {
        app.device(&admin, name).await;
    }
    let make = |rollout: Value| {
        app.post("/api/v1/batches")
            .token(&admin)
            .body(&in_waves(rollout))
            .send()
    };
    make(json!({"waves": [{"type": "percent", "percent": 0}]}))
        .await
        .refused_at(400, "request.invalid", "/rollout/waves/0/percent");
    let missing = json!({"waves": [{"type": "groups", "groups": ["019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41"]}]});
    make(missing)
        .await
        .refused_at(404, "device_group.not_found", "/rollout/waves");
    let asked = json!({"waves": [{"type": "count", "devices": 1}], "max_failures": {"type": "percent", "percent": 5}});
    let batch = make(asked).await.expect(201);
    assert_eq!(batch.json()["rolls_out"], true);
    let states = json!([{"state": "queued", "runs": 1}, {"state": "scheduled", "runs": 2}]);
    assert_eq!(batch.json()["states"], states);

    let path = format!("/api/v1/batches/{}/rollout", batch.str("/id"));
    let shown = app.get(&path).token(&admin).send().await.expect(200).json();
    assert_eq!(shown["phase"], json!({"type": "rolling"}));
    let waves = json!([{"devices": 1, "chosen": {"type": "count", "devices": 1}}, {"devices": 2, "chosen": null}]);
    assert_eq!((&shown["wave"], &shown["waves"]), (&json!(1), &waves));
    assert_eq!(
        shown["policy"]["max_failures"],
        json!({"type": "percent", "percent": 5})
    );
    let words = "wave 1 of 2: 1 of 1 devices have had their turn; 0 of 3 runs of all waves have ended";
    assert_eq!(shown["in_words"], words);

    let act = |verb: &str, body: Value| {
        let call = app.post(&format!("{path}/{verb}")).token(&admin).body(&body);
        async move { call.send().await }
    };
    let paused = act("pause", json!({})).await.expect(200).json();
    assert_eq!(paused["in_words"], format!("held by ada; {words}"));
    let runs = format!("/api/v1/runs?batch={}&state=queued", batch.str("/id"));
    let run = app.get(&runs).token(&admin).send().await.expect(200);
    assert_eq!(run.json()["items"][0]["on_hold"], true);
    let gone_on = act("resume", json!({})).await.expect(200).json();
    assert_eq!(
        (&gone_on["paused_by"], &gone_on["in_words"]),
        (&Value::Null, &json!(words))
    );

    let listed = |query: &str| {
        let call = app.get(&format!("/api/v1/rollouts{query}")).token(&admin);
        async move { call.send().await.expect(200).json()["items"].as_array().unwrap().len() }
    };
    assert_eq!((listed("?open=true").await, listed("").await), (1, 1));
    let aborted = act("abort", json!({"stop_running": false})).await.expect(200).json();
    assert_eq!(
        (&aborted["phase"]["type"], &aborted["ended"]),
        (&json!("aborted"), &json!(3))
    );
    assert_eq!((listed("?open=true").await, listed("").await), (0, 1));
    assert_eq!(act("resume", json!({})).await.code(), "rollout.over");

    let mut plain = json!({"operation": "shell", "params": {"script": "true"}, "targets": {"all": true}});
    let call = app.post("/api/v1/batches").token(&admin).body(&plain);
    let refused = call.send().await;
    refused.refused_at(409, "batch.not_confirmed", "/confirm_devices");
    assert_eq!(refused.str("/errors/0/message"), "3");
    plain["confirm_devices"] = json!(3);
    let plain = app
        .post("/api/v1/batches")
        .token(&admin)
        .body(&plain)
        .send()
        .await
        .expect(201);
    let path = format!("/api/v1/batches/{}/rollout", plain.str("/id"));
    assert_eq!(app.get(&path).token(&admin).send().await.code(), "rollout.not_found");
}
