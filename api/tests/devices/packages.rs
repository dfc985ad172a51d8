use serde_json::json;

use crate::{
    support::App,
    world::{column, packages, refused, send},
};

#[tokio::test]
async fn the_packages_of_a_device_are_filtered_and_paged() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web").await;
    send(&app, &device, packages(&["bash 1 > 2 !", "curl 1 > 3", "dash 1"])).await;
    let path = format!("/api/v1/devices/{}/packages", device.id);
    for (query, expected) in [
        ("", &["bash", "curl", "dash"][..]),
        ("?search=ash", &["bash", "dash"]),
        ("?updates=true", &["bash", "curl"]),
        ("?updates=false", &["dash"]),
        ("?security=true", &["bash"]),
        ("?held=true", &[]),
    ] {
        let list = app
            .get(&format!("{path}{query}"))
            .token(&admin)
            .send()
            .await
            .expect(200);
        assert_eq!(column(&list, "/name"), expected, "{query}");
    }
    let first = app
        .get(&format!("{path}?limit=2"))
        .token(&admin)
        .send()
        .await
        .str("/next");
    let rest = app.get(&format!("{path}?limit=2&page_token={first}")).token(&admin);
    assert_eq!(column(&rest.send().await.expect(200), "/name"), ["dash"]);

    for (query, code, pointer) in [
        ("colour=red", "request.parameter_unknown", "colour"),
        ("held=maybe", "request.invalid", "held"),
        (
            &*format!("updates=true&page_token={first}"),
            "page.token_invalid",
            "page_token",
        ),
    ] {
        let answer = app.get(&format!("{path}?{query}")).token(&admin).send().await;
        answer.refused_at(400, code, pointer);
    }
}

#[tokio::test]
async fn packages_before_the_first_report_are_not_there() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web").await;
    let path = format!("/api/v1/devices/{}/packages", device.id);
    refused(&app, app.get(&path).token(&admin), 404, "inventory.section_not_found").await;
}

#[tokio::test]
async fn a_package_is_found_over_all_devices() {
    let (app, admin) = App::with_admin().await;
    for (name, list) in [
        ("a", &["openssl 3.0.2 > 3.0.9 !", "bash 5"][..]),
        ("b", &["openssl 3.0.10", "bash 5"]),
        ("c", &["bash 5.1"]),
    ] {
        let device = app.device(&admin, name).await;
        send(&app, &device, packages(list)).await;
    }
    let all = app.get("/api/v1/packages").token(&admin).send().await.expect(200);
    assert_eq!(column(&all, "/name"), ["bash", "openssl"]);
    let found = app
        .get("/api/v1/packages?search=open")
        .token(&admin)
        .send()
        .await
        .expect(200);
    assert_eq!(
        found.json()["items"],
        json!([{
            "name": "openssl", "manager": "dpkg", "devices": 2, "updates": 1, "security_updates": 1,
            "versions": [{"version": "3.0.10", "devices": 1}, {"version": "3.0.2", "devices": 1}],
        }])
    );
    for (path, expected) in [
        ("dpkg/openssl/devices", &["a", "b"][..]),
        ("dpkg/openssl/devices?below=3.0.9", &["a"]),
        ("dpkg/openssl/devices?version=3.0.10", &["b"]),
        ("dpkg/bash/devices?below=6", &["a", "b", "c"]),
        ("rpm/bash/devices", &[]),
        ("dpkg/nothing/devices", &[]),
    ] {
        let list = app.get(&format!("/api/v1/packages/{path}")).token(&admin).send().await;
        assert_eq!(column(&list.expect(200), "/name"), expected, "{path}");
    }
}

#[tokio::test]
async fn a_question_about_packages_that_cannot_be_is_refused_by_the_parameter() {
    let (app, admin) = App::with_admin().await;
    let long = "x".repeat(513);
    for (path, code, pointer) in [
        ("?name=bash".to_owned(), "request.parameter_unknown", "name"),
        (format!("?search={long}"), "request.invalid", "search"),
        ("?limit=0".to_owned(), "page.limit_invalid", "limit"),
        (
            "/dpkg/bash/devices?over=1".to_owned(),
            "request.parameter_unknown",
            "over",
        ),
        (format!("/dpkg/bash/devices?below={long}"), "request.invalid", "below"),
        (format!("/dpkg/{long}/devices"), "request.invalid", "name"),
    ] {
        let answer = app.get(&format!("/api/v1/packages{path}")).token(&admin).send().await;
        answer.refused_at(400, code, pointer);
    }
}
