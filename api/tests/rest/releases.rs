//! Releases of the agent: what operators upload, and what agents and installers get.

use fleet_core::protocol::SignedManifest;
use serde_json::{Value, json};

use super::support::{Answer, App};

/// FIPS 180-2, B.1: the SHA-256 of "abc".
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

async fn upload(app: &App, token: &str, query: &str, program: &[u8]) -> Answer {
    let call = app.post(&format!("/api/v1/agent-releases?{query}")).token(token);
    call.bytes(program.to_vec()).send().await
}

#[tokio::test]
async fn what_is_uploaded_is_handed_out_by_its_digest() {
    let (app, admin) = App::with_admin().await;
    let made = upload(&app, &admin, "version=1.4.0&platform=linux-x86_64", b"abc")
        .await
        .expect(201);
    assert_eq!(
        (made.str("/sha256"), made.str("/source")),
        (ABC.into(), "uploaded".into())
    );
    upload(&app, &admin, "version=1.4.0&platform=linux-x86_64", b"abc")
        .await
        .expect(200);
    let path = format!("/api/v1/agent-releases/{}", made.str("/id"));
    assert_eq!(
        app.get(&path).token(&admin).send().await.expect(200).json(),
        made.json()
    );

    let program = format!("/agent/v1/binaries/linux-x86_64/{ABC}");
    let answer = app.get(&program).send().await.expect(200);
    assert_eq!((&*answer.text, answer.header("content-length")), ("abc", Some("3")));
    let script = app.get("/install.sh").send().await.expect(200);
    assert!(script.text.contains(&format!("    linux-x86_64) echo {ABC} ;;\n")));
    for other in [
        format!("/agent/v1/binaries/linux-aarch64/{ABC}"),
        format!("/agent/v1/binaries/linux-x86_64/{}", ABC.to_uppercase()),
        "/agent/v1/binaries/linux-x86_64/..%2F..%2Fsecret".into(),
    ] {
        app.get(&other).send().await.refused(404, "agent_release.not_found");
    }

    let withdrawn = app
        .post(&format!("{path}/withdraw"))
        .token(&admin)
        .send()
        .await
        .expect(200);
    assert!(withdrawn.json()["withdrawn_at"].is_string());
    app.get(&program).send().await.refused(404, "agent_release.not_found");
    assert!(!app.get("/install.sh").send().await.text.contains(ABC));
}

#[tokio::test]
async fn what_is_wrong_with_an_upload_is_said() {
    let (app, admin) = App::with_admin().await;
    let check = async |query: &str, program: &[u8], status: u16, code: &str| {
        upload(&app, &admin, query, program).await.refused(status, code);
    };
    check("platform=linux-x86_64", b"abc", 400, "request.invalid").await;
    check("version=one&platform=linux-x86_64", b"abc", 400, "request.invalid").await;
    check("version=1.0.0", b"abc", 400, "agent_release.platform_invalid").await;
    check(
        "version=1.0.0&platform=plan9",
        b"abc",
        400,
        "agent_release.platform_invalid",
    )
    .await;
    check("version=1.0.0&platform=linux-x86_64", b"", 400, "request.invalid").await;
    check(
        "version=1.0.0&platfrom=linux-x86_64",
        b"abc",
        400,
        "request.parameter_unknown",
    )
    .await;
    let mut arm = b"\x7fELF\x02\x01".to_vec();
    arm.resize(18, 0);
    arm.extend([183, 0]);
    check(
        "version=1.0.0&platform=linux-x86_64",
        &arm,
        400,
        "agent_release.platform_invalid",
    )
    .await;
    let made = upload(&app, &admin, "version=1.0.0", &arm).await.expect(201);
    assert_eq!(made.str("/platform"), "linux-aarch64");
    check(
        "version=1.0.0&platform=linux-aarch64",
        b"abc",
        409,
        "agent_release.exists",
    )
    .await;
}

#[tokio::test]
async fn a_program_may_be_larger_than_other_bodies_and_has_a_limit() {
    let (app, admin) = App::with_admin().await;
    let large = vec![7; 9 << 20];
    let made = upload(&app, &admin, "version=1.0.0&platform=linux-x86_64", &large)
        .await
        .expect(201);
    assert_eq!(made.json()["size_bytes"], large.len());
    let huge = vec![7; (128 << 20) + 1];
    let refused = upload(&app, &admin, "version=1.0.1&platform=linux-x86_64", &huge).await;
    refused.refused(413, "blob.too_large");
}

#[tokio::test]
async fn an_agent_learns_what_it_may_become() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web-1").await;
    let ask = async |query: &str| {
        let path = format!("/agent/v1/releases/linux-x86_64{query}");
        app.get(&path).device(&device).send().await
    };
    ask("").await.refused(404, "agent_release.none");
    for version in ["1.4.0", "1.5.0"] {
        let query = format!("version={version}&platform=linux-x86_64");
        upload(&app, &admin, &query, version.as_bytes()).await.expect(201);
    }
    let dispatch = app.fleet.keys().dispatch().public;
    let check = async |query: &str, version: &str| {
        let signed: SignedManifest = serde_json::from_value(ask(query).await.expect(200).json()).unwrap();
        let now = fleet_core::kernel::Clock::now(&*app.clock);
        let manifest = signed.verify(&dispatch, "linux-x86_64", now).unwrap();
        assert_eq!(manifest.version.to_string(), version);
    };
    check("", "1.5.0").await;
    check("?version=1.4.0", "1.4.0").await;
    ask("?version=1.4.1").await.refused(404, "agent_release.not_found");
    ask("?version=newest").await.refused(400, "request.invalid");
    let path = "/api/v1/settings/agents.rollback_floor";
    let floor = app.put(path).token(&admin).body(&json!({"value": "1.5.0"}));
    floor.send().await.expect(200);
    ask("?version=1.4.0").await.refused(409, "agent_release.below_floor");
    let list = app
        .get("/api/v1/agent-releases?platform=linux-x86_64&limit=1")
        .token(&admin);
    let list: Value = list.send().await.expect(200).json();
    assert!(list["next"].is_string() && list["items"].as_array().unwrap().len() == 1);
}
