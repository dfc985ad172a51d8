use fleet_core::devices::inventory::{LocalUser, SectionBody, Users};
use serde_json::{Value, json};

use crate::{
    support::App,
    world::{packed, refused, repeated, report, send, sending},
};

const PATH: &str = "/agent/v1/reports/users";

fn users(name: &str) -> SectionBody {
    SectionBody::Users(Users {
        items: vec![LocalUser {
            name: name.to_owned(),
            ..LocalUser::default()
        }],
        ..Users::default()
    })
}

#[tokio::test]
async fn a_report_may_be_packed_or_plain_and_comes_once() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web").await;
    send(&app, &device, users("ann")).await;
    let plain = serde_json::to_vec(&report(&app, users("bob"))).unwrap();
    let call = app.post(PATH).bytes(plain).device(&device);
    call.send().await.expect(204);
    let section = format!("/api/v1/devices/{}/inventory/users", device.id);
    let section = app.get(&section).token(&admin).send().await.expect(200);
    assert_eq!(section.str("/body/items/0/name"), "bob");

    // The server has this body: the hash alone will do, and nothing is written.
    let mut short = report(&app, users("bob"));
    short.as_object_mut().unwrap().remove("body");
    let before = crate::world::digest(&app).await;
    sending(&app, &device, &short).send().await.expect(204);
    assert_eq!(crate::world::digest(&app).await, before);
}

#[tokio::test]
async fn a_report_that_is_not_what_it_says_is_refused() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web").await;
    let good = report(&app, users("ann"));
    let with = |member: &str, value: Value| {
        let mut report = good.clone();
        report[member] = value;
        report
    };
    let mut only_hash = good.clone();
    only_hash.as_object_mut().unwrap().remove("body");
    let other_body = report(&app, users("bob"))["body"].clone();
    for (what, report, status, code) in [
        (
            "another body",
            with("body", other_body),
            400,
            "inventory.report_invalid",
        ),
        (
            "another shape",
            with("body", json!([])),
            400,
            "inventory.report_invalid",
        ),
        ("no hash", with("hash", Value::Null), 400, "request.invalid"),
        ("short hash", with("hash", json!("00")), 400, "request.invalid"),
        (
            "no time",
            with("collected_at", json!("yesterday")),
            400,
            "request.invalid",
        ),
        ("unknown body", only_hash, 409, "inventory.body_wanted"),
    ] {
        let answer = refused(&app, sending(&app, &device, &report), status, code).await;
        assert!(!answer.text.is_empty(), "{what}");
    }
    let bytes = serde_json::to_vec(&good).unwrap();
    for path in ["/agent/v1/reports/ports", "/agent/v1/reports/colour"] {
        let call = app.post(path).bytes(bytes.clone()).device(&device);
        refused(&app, call, 400, "report.malformed").await;
    }
    // The hash is that of the body, and the body is that of another section.
    let of_users = with("section", json!("ports"));
    refused(&app, sending(&app, &device, &of_users), 400, "inventory.report_invalid").await;
}

#[tokio::test]
async fn a_report_that_cannot_be_unpacked_is_refused() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web").await;
    let bytes = serde_json::to_vec(&report(&app, users("ann"))).unwrap();
    let good = zstd::encode_all(&*bytes, 1).unwrap();
    for (what, sent) in [
        ("not packed", bytes.clone()),
        ("nothing", Vec::new()),
        ("cut off", good[..good.len() - 3].to_vec()),
        ("a window of 2 GiB", repeated(1, 31)),
    ] {
        let answer = refused(&app, packed(&app, &device, sent), 400, "report.malformed").await;
        assert!(!answer.text.contains("zstd::"), "{what}");
    }
    let gzip = app.post(PATH).header("content-encoding", "gzip").bytes(good.clone());
    refused(&app, gzip.device(&device), 400, "report.malformed").await;
    // Packed, and not said so.
    let unsaid = app.post(PATH).bytes(good).device(&device);
    refused(&app, unsaid, 400, "request.json_syntax").await;
    refused(&app, packed(&app, &device, repeated(1, 17)), 400, "request.json_syntax").await;
}

#[tokio::test]
async fn a_report_of_ten_megabytes_is_refused_before_it_is_unpacked() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web").await;
    let call = packed(&app, &device, vec![0; 10 << 20]);
    refused(&app, call, 413, "request.body_too_large").await;
}
