use fleet_core::devices::inventory::{Memory, SectionBody};
use serde_json::{Value, json};

use crate::{
    support::{App, Device},
    world::{column, packages, refused, send},
};

/// Three devices; the first has labels.
async fn three() -> (App, String, [Device; 3]) {
    let (app, admin) = App::with_admin().await;
    let mut devices = Vec::new();
    for name in ["web-01", "Alpha", "db"] {
        devices.push(app.device(&admin, name).await);
        app.advance(1);
    }
    let devices: [Device; 3] = devices.try_into().unwrap_or_else(|_| panic!("three"));
    let labels = json!({"labels": {"site": "bonn", "prod": ""}});
    let path = format!("/api/v1/devices/{}", devices[0].id);
    let call = app.patch(&path).token(&admin).header("if-match", "*").body(&labels);
    call.send().await.expect(200);
    (app, admin, devices)
}

#[tokio::test]
async fn devices_are_filtered_sorted_and_counted() {
    let (app, admin, [web, alpha, _]) = three().await;
    let group = json!({"name": "front"});
    let group = app
        .post("/api/v1/device-groups")
        .token(&admin)
        .body(&group)
        .send()
        .await;
    let group = group.expect(201).str("/id");
    let member = format!("/api/v1/device-groups/{group}/devices/{}", alpha.id);
    app.put(&member).token(&admin).send().await.expect(204);
    send(&app, &web, packages(&["bash 1 > 2 !", "curl 1"])).await;

    let in_group = format!("?group={group}");
    let table: &[(&str, &[&str])] = &[
        ("", &["Alpha", "db", "web-01"]),
        ("?sort=-name", &["web-01", "db", "Alpha"]),
        ("?sort=enrolled_at", &["web-01", "Alpha", "db"]),
        ("?sort=-updates&limit=1", &["web-01"]),
        ("?label=site", &["web-01"]),
        ("?label=site%3Dbonn&label=prod", &["web-01"]),
        ("?label=site%3Dberlin", &[]),
        ("?search=ALP", &["Alpha"]),
        ("?search=bonn", &["web-01"]),
        ("?name=WEB-01", &["web-01"]),
        ("?presence=never", &["Alpha", "db", "web-01"]),
        ("?presence=online", &[]),
        ("?updates=true", &["web-01"]),
        ("?security_updates=true", &["web-01"]),
        ("?updates=false", &[]),
        ("?reboot_required=true", &[]),
        ("?os=debian", &[]),
        (&in_group, &["Alpha"]),
    ];
    for (query, expected) in table {
        let answer = app.get(&format!("/api/v1/devices{query}")).token(&admin).send().await;
        assert_eq!(column(&answer.expect(200), "/name"), *expected, "{query}");
    }
    let counted = app.get("/api/v1/devices?count=true&limit=1").token(&admin).send().await;
    assert_eq!(counted.json()["total"], 3);
    let not_counted = app.get("/api/v1/devices").token(&admin).send().await;
    assert_eq!(not_counted.json().get("total"), None);
}

#[tokio::test]
async fn a_list_goes_on_where_its_page_ended() {
    let (app, admin, _) = three().await;
    let (mut names, mut path) = (Vec::new(), "/api/v1/devices?limit=1&sort=-name".to_owned());
    loop {
        let answer = app.get(&path).token(&admin).send().await.expect(200);
        names.extend(column(&answer, "/name"));
        let next = answer.json()["next"].clone();
        let Value::String(next) = next else {
            break;
        };
        path = format!("/api/v1/devices?limit=1&sort=-name&page_token={next}");
    }
    assert_eq!(names, ["web-01", "db", "Alpha"]);
}

#[tokio::test]
async fn a_list_that_cannot_be_is_refused_by_the_parameter() {
    let (app, admin, _) = three().await;
    let first = app
        .get("/api/v1/devices?limit=1")
        .token(&admin)
        .send()
        .await
        .str("/next");
    let of_another_order = format!("sort=-name&page_token={first}");
    let of_another_filter = format!("label=site&page_token={first}");
    for (query, code, pointer) in [
        ("colour=red", "request.parameter_unknown", "colour"),
        ("sort=colour", "request.invalid", "sort"),
        ("updates=maybe", "request.invalid", "updates"),
        ("presence=here", "request.invalid", "presence"),
        ("presence=online&presence=never", "request.invalid", "presence"),
        ("group=front", "request.invalid", "group"),
        ("label=Site", "device.label_invalid", "/labels"),
        ("limit=0", "page.limit_invalid", "limit"),
        ("limit=501", "page.limit_invalid", "limit"),
        ("search=a%00b", "request.nul_character", "search"),
        ("page_token=AAAA", "page.token_invalid", "page_token"),
        (&of_another_order, "page.token_invalid", "page_token"),
        (&of_another_filter, "page.token_invalid", "page_token"),
    ] {
        let answer = app.get(&format!("/api/v1/devices?{query}")).token(&admin).send().await;
        answer.refused_at(400, code, pointer);
    }
    let elsewhere = format!("/api/v1/packages?page_token={first}");
    let answer = app.get(&elsewhere).token(&admin).send().await;
    answer.refused_at(400, "page.token_invalid", "page_token");
}

#[tokio::test]
async fn a_change_needs_the_revision_that_was_read() {
    let (app, admin, [web, ..]) = three().await;
    let path = format!("/api/v1/devices/{}", web.id);
    let read = app.get(&path).token(&admin).send().await.expect(200);
    let tag = read.header("etag").unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", read.json()["revision"]));

    let change = json!({"name": "front", "disabled": true, "labels": {"prod": null, "tier": "1"}});
    let patch = || app.patch(&path).token(&admin).body(&change);
    let answer = patch().header("if-match", &tag).send().await.expect(200);
    let device = answer.json();
    assert_eq!(
        (&device["name"], &device["disabled"], &device["labels"]),
        (&json!("front"), &json!(true), &json!({"site": "bonn", "tier": "1"}))
    );
    assert_eq!(answer.header("etag").unwrap(), format!("\"{}\"", device["revision"]));

    for (condition, status, code) in [
        (None, 428, "request.precondition_required"),
        (Some(&*tag), 412, "request.precondition_failed"),
        (Some("W/\"1\""), 412, "request.precondition_failed"),
        (Some("1"), 400, "request.precondition_invalid"),
    ] {
        let call = condition.map_or_else(patch, |condition| patch().header("if-match", condition));
        refused(&app, call, status, code).await;
    }
    let merge = app.patch(&path).token(&admin).header("if-match", "*");
    let merge = merge.header("content-type", "application/merge-patch+json");
    merge.bytes(b"{\"name\":\"web-01\"}".to_vec()).send().await.expect(200);
}

#[tokio::test]
async fn a_change_that_breaks_a_rule_is_refused_by_the_member() {
    let (app, admin, [web, ..]) = three().await;
    let path = format!("/api/v1/devices/{}", web.id);
    for (change, code, pointer) in [
        (json!({"name": ""}), "device.name_invalid", "/name"),
        (json!({"name": 5}), "request.invalid", "/name"),
        (json!({"nmae": "x"}), "request.invalid", "/nmae"),
        (json!({"labels": {"A": "x"}}), "device.label_invalid", "/labels"),
        (json!({"labels": {"a": "x\ny"}}), "device.label_invalid", "/labels/a"),
        (json!({"labels": {"a": 1}}), "request.invalid", "/labels/a"),
        (json!([]), "request.invalid", ""),
    ] {
        let call = app.patch(&path).token(&admin).header("if-match", "*").body(&change);
        let answer = refused(&app, call, 400, code).await;
        assert_eq!(answer.str("/errors/0/pointer"), pointer, "{change}");
    }
}

#[tokio::test]
async fn the_id_of_a_deleted_device_is_not_found_anywhere() {
    let (app, admin, [web, ..]) = three().await;
    send(&app, &web, packages(&["bash 1"])).await;
    let group = json!({"name": "front"});
    let group = app
        .post("/api/v1/device-groups")
        .token(&admin)
        .body(&group)
        .send()
        .await;
    let group = group.str("/id");
    let path = format!("/api/v1/devices/{}", web.id);
    let stale = app.delete(&path).token(&admin).header("if-match", "\"1\"");
    refused(&app, stale, 412, "request.precondition_failed").await;
    app.delete(&path).token(&admin).send().await.expect(204);

    for route in ["", "/inventory", "/inventory/packages", "/packages", "/events"] {
        let call = app.get(&format!("{path}{route}")).token(&admin);
        refused(&app, call, 404, "device.not_found").await;
    }
    let change = json!({"name": "ghost"});
    let call = app.patch(&path).token(&admin).header("if-match", "*").body(&change);
    refused(&app, call, 404, "device.not_found").await;
    refused(&app, app.delete(&path).token(&admin), 404, "device.not_found").await;
    let member = format!("/api/v1/device-groups/{group}/devices/{}", web.id);
    for method in ["PUT", "DELETE"] {
        refused(&app, app.call(method, &member).token(&admin), 404, "device.not_found").await;
    }
    let left = app.get("/api/v1/devices").token(&admin).send().await;
    assert_eq!(column(&left, "/name"), ["Alpha", "db"]);
}

#[tokio::test]
async fn a_path_that_is_no_id_is_refused_by_its_name() {
    let (app, admin, _) = three().await;
    for path in [
        "/api/v1/devices/web-01",
        "/api/v1/devices/019AA5B2-4C6E-7A30-8F21-5D0C6B7E9A41",
    ] {
        app.get(path)
            .token(&admin)
            .send()
            .await
            .refused_at(400, "request.invalid", "id");
    }
}

#[tokio::test]
async fn what_happened_to_a_device_comes_newest_first() {
    let (app, admin, [web, alpha, _]) = three().await;
    let memory = |total_bytes| {
        SectionBody::Memory(Memory {
            total_bytes,
            swap_total_bytes: 0,
        })
    };
    send(&app, &alpha, memory(1)).await;
    for total in [1, 2] {
        app.advance(1);
        send(&app, &web, memory(total)).await;
    }
    let path = format!("/api/v1/devices/{}/events", web.id);
    let events = app.get(&path).token(&admin).send().await.expect(200);
    assert_eq!(column(&events, "/event"), ["inventory.changed", "inventory.changed"]);
    assert_eq!(column(&events, "/details/section"), ["memory", "memory"]);
    let times = column(&events, "/at");
    assert!(times[0] > times[1], "{times:?}");
    let first = app.get(&format!("{path}?limit=1")).token(&admin).send().await;
    let rest = format!("{path}?limit=1&page_token={}", first.str("/next"));
    let rest = app.get(&rest).token(&admin).send().await;
    assert_eq!(column(&rest, "/at"), times[1..]);
    let unknown = app.get(&format!("{path}?event=x")).token(&admin).send().await;
    unknown.refused_at(400, "request.parameter_unknown", "event");
}

#[tokio::test]
async fn the_fleet_is_counted() {
    let (app, admin, [web, ..]) = three().await;
    send(&app, &web, packages(&["bash 1 > 2 !"])).await;
    let batch = json!({"operation": "inventory.refresh", "params": {}, "targets": {"devices": [web.id]}});
    app.post("/api/v1/batches")
        .token(&admin)
        .body(&batch)
        .send()
        .await
        .expect(201);
    let fleet = app.get("/api/v1/fleet").token(&admin).send().await.expect(200).json();
    assert_eq!(
        fleet,
        json!({
            "devices": 3, "online": 0, "offline": 0, "never": 3, "pending": 0,
            "with_updates": 1, "with_security_updates": 1, "reboot_required": 0,
            "os": [{"os": null, "devices": 3}],
            "runs": {"waiting": 1, "under_way": 0},
        })
    );
    let strange = app.get("/api/v1/fleet?by=site").token(&admin).send().await;
    strange.refused_at(400, "request.parameter_unknown", "by");
}

#[tokio::test]
async fn a_viewer_reads_and_changes_nothing() {
    let (app, admin, [web, ..]) = three().await;
    let viewer = app.user(&admin, "vera", "viewer").await;
    let path = format!("/api/v1/devices/{}", web.id);
    app.get(&path).token(&viewer).send().await.expect(200);
    let change = json!({"name": "x"});
    let call = app.patch(&path).token(&viewer).header("if-match", "*").body(&change);
    refused(&app, call, 403, "access.denied").await;
    refused(&app, app.delete(&path).token(&viewer), 403, "access.denied").await;
    let tokens = app.get("/api/v1/enrolment-tokens").token(&viewer);
    refused(&app, tokens, 403, "access.denied").await;
    let answer = app.get(&path).send().await;
    assert_eq!(answer.status, 401);
}
