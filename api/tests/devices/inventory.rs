use fleet_core::devices::inventory::{Memory, SectionBody};
use serde_json::{Value, json};

use crate::{
    support::App,
    world::{column, packages, refused, send},
};

#[tokio::test]
async fn what_a_device_reports_is_shown_by_section() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web").await;
    let path = format!("/api/v1/devices/{}/inventory", device.id);
    let none = app.get(&path).token(&admin).send().await.expect(200);
    assert_eq!(none.json(), json!({"items": [], "next": null}));

    let memory = SectionBody::Memory(Memory {
        total_bytes: 5,
        swap_total_bytes: 0,
    });
    send(&app, &device, memory).await;
    send(&app, &device, packages(&["bash 1 > 2 !", "curl 1"])).await;
    let sections = app.get(&path).token(&admin).send().await.expect(200);
    assert_eq!(column(&sections, "/section"), ["memory", "packages"]);
    assert!(sections.json()["items"][0].get("body").is_none());

    let memory = app
        .get(&format!("{path}/memory"))
        .token(&admin)
        .send()
        .await
        .expect(200);
    assert_eq!(memory.header("etag"), Some("\"1\""));
    assert_eq!(memory.json()["body"], json!({"total_bytes": 5, "swap_total_bytes": 0}));
    let packages = app
        .get(&format!("{path}/packages"))
        .token(&admin)
        .send()
        .await
        .expect(200);
    let body = packages.json()["body"].clone();
    assert_eq!(
        (
            &body["installed"],
            &body["updates"],
            &body["security_updates"],
            &body["items"]
        ),
        (&json!(2), &json!(1), &json!(1), &Value::Null)
    );
}

#[tokio::test]
async fn a_section_that_is_not_there_is_told_from_one_that_cannot_be() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web").await;
    let path = format!("/api/v1/devices/{}/inventory", device.id);
    let call = app.get(&format!("{path}/cpu")).token(&admin);
    refused(&app, call, 404, "inventory.section_not_found").await;
    let call = app.get(&format!("{path}/colour")).token(&admin);
    refused(&app, call, 400, "request.invalid").await;
    let call = app.get(&format!("{path}?section=cpu")).token(&admin);
    refused(&app, call, 400, "request.parameter_unknown").await;
}
