use fleet_core::devices::DeviceId;
use serde_json::json;

use crate::{
    support::App,
    world::{column, refused},
};

const PATH: &str = "/api/v1/devices/labels";

#[tokio::test]
async fn labels_of_many_devices_are_set_and_removed_in_one_request() {
    let (app, admin) = App::with_admin().await;
    let web = app.device(&admin, "web").await;
    let db = app.device(&admin, "db").await;
    let gone = DeviceId::new(fleet_core::kernel::Clock::now(&*app.clock), &*app.random);
    let first = json!({"devices": [web.id, db.id], "set": {"old": "", "site": "bonn"}});
    let outcome = app.post(PATH).token(&admin).body(&first).send().await.expect(200);
    assert_eq!(outcome.json(), json!({"changed": 2, "unchanged": 0, "failed": []}));

    let second = json!({"devices": [web.id, gone], "set": {"site": "bonn"}, "remove": ["old"]});
    let outcome = app
        .post(PATH)
        .token(&admin)
        .body(&second)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!((&outcome["changed"], &outcome["unchanged"]), (&json!(1), &json!(0)));
    assert_eq!(
        (&outcome["failed"][0]["device"], &outcome["failed"][0]["code"]),
        (&json!(gone), &json!("device.not_found"))
    );
    let old = app.get("/api/v1/devices?label=old").token(&admin).send().await;
    assert_eq!(column(&old, "/name"), ["db"]);
}

#[tokio::test]
async fn a_request_that_breaks_a_rule_changes_no_device() {
    let (app, admin) = App::with_admin().await;
    let web = app.device(&admin, "web").await;
    let some = [web.id];
    let many: Vec<_> = (0..501)
        .map(|_| DeviceId::new(fleet_core::kernel::Clock::now(&*app.clock), &*app.random))
        .collect();
    for (body, status, code) in [
        (json!({"devices": many, "set": {"a": ""}}), 400, "device.too_many"),
        (json!({"devices": many[..1], "set": {"a": ""}}), 404, "device.not_found"),
        (json!({"devices": some}), 400, "request.invalid"),
        (json!({"devices": ["web"], "set": {"a": ""}}), 400, "request.invalid"),
        (json!({"devices": some, "set": {"A": ""}}), 400, "device.label_invalid"),
        (json!({"devices": some, "remove": ["A"]}), 400, "device.label_invalid"),
        (
            json!({"devices": some, "set": {"a": ""}, "remove": ["a"]}),
            400,
            "request.invalid",
        ),
        (
            json!({"devices": some, "set": {"a": ""}, "force": true}),
            400,
            "request.invalid",
        ),
    ] {
        refused(&app, app.post(PATH).token(&admin).body(&body), status, code).await;
    }
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_refused() {
    let (app, admin) = App::with_admin().await;
    let web = app.device(&admin, "web").await;
    let large = json!({"devices": [web.id], "set": {"a": "x".repeat(10 << 20)}});
    let change = format!("/api/v1/devices/{}", web.id);
    refused(
        &app,
        app.post(PATH).token(&admin).body(&large),
        413,
        "request.body_too_large",
    )
    .await;
    let call = app.patch(&change).token(&admin).header("if-match", "*").body(&large);
    refused(&app, call, 413, "request.body_too_large").await;
}
