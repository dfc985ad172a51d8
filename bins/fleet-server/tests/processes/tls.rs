//! Agents that prove themselves by certificates on the server's own TLS port.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fleet_core::{
    Fleet,
    kernel::{MasterKey, SystemClock, SystemRandom},
    store::memory::MemoryStore,
};
use serde_json::{Value, json};

use crate::{
    nginx::write_certificate,
    processes::Server,
    world::{Way, World},
};

async fn a_script_runs(world: &World) {
    let run = world.run_script("echo by certificate", 60).await;
    let view = world.until(&run, "finished", |run| run["terminal"] == true).await;
    assert_eq!(view["state"], "succeeded", "{view}");
    assert_eq!(world.output(&run).await, "by certificate\n");
}

fn certificate(world: &World) -> Value {
    let file = std::fs::read(world.path().join("agent/certificate.json")).unwrap();
    serde_json::from_slice(&file).unwrap()
}

async fn an_agent_enrols_connects_and_works(transport: &'static str) {
    let mut world = World::with(transport, Way::OwnTls).await;
    assert!(
        certificate(&world)["certificate"]["der"].is_string(),
        "enrolment brings the first"
    );
    a_script_runs(&world).await;
    // The inventory comes as well, compressed, by another request.
    world.section("os").await;
    let serial = world.device().await["certificate"]["serial"].clone();
    assert!(serial.is_string());
    // Neither side has to begin anew.
    world.restart_server().await;
    a_script_runs(&world).await;
    world.restart_agent().await;
    a_script_runs(&world).await;
    assert_eq!(
        world.device().await["certificate"]["serial"],
        serial,
        "one is enough for a day"
    );
    world.stop().await;
}

#[tokio::test]
async fn by_socket_an_agent_works_over_mutual_tls() {
    an_agent_enrols_connects_and_works("socket").await;
}

#[tokio::test]
async fn by_polling_an_agent_works_over_mutual_tls() {
    an_agent_enrols_connects_and_works("poll").await;
}

#[tokio::test]
async fn a_revoked_device_is_cut_off_while_it_is_connected() {
    let world = World::with("socket", Way::OwnTls).await;
    a_script_runs(&world).await;
    let run = world.run_script("sleep 60", 60).await;
    world.until(&run, "running", |run| run["state"] == "running").await;
    assert_eq!(world.post_device("revoke").await, 200);
    // That it takes at most five seconds stands in core's tests of the link, in a time that no busy machine stretches.
    let deadline = Instant::now() + Duration::from_secs(30);
    let log = world.path().join("agent.log");
    loop {
        let text = std::fs::read_to_string(&log).unwrap();
        if text.contains("device.revoked") {
            break;
        }
        assert!(Instant::now() < deadline, "{}", world.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Nor does it come back: what is asked for from now on is not taken.
    let run = world.run_script("true", 60).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let view = world.until(&run, "there", |_| true).await;
    assert_eq!(view["state"], "queued", "{view}");
    assert!(world.device().await["revoked_at"].is_string());
    world.stop().await;
}

#[tokio::test]
async fn an_agent_with_a_superseded_or_lost_certificate_gets_the_next_by_its_key() {
    let mut world = World::with("socket", Way::OwnTls).await;
    a_script_runs(&world).await;
    let first = certificate(&world);
    let path = world.path().join("agent/certificate.json");
    // It is lost: as on a device that was set back to a backup of its identity.
    world.kill_agent();
    std::fs::remove_file(&path).unwrap();
    world.restart_agent().await;
    a_script_runs(&world).await;
    assert_ne!(certificate(&world)["certificate"], first["certificate"]);
    let newest = world.device().await["certificate"]["serial"].clone();
    // The one before it is presented again: refused, and renewed.
    world.kill_agent();
    std::fs::write(&path, first.to_string()).unwrap();
    world.restart_agent().await;
    a_script_runs(&world).await;
    assert_ne!(world.device().await["certificate"]["serial"], newest);
    // What it believes is out of date: authorities of another fleet.
    world.kill_agent();
    let mut foreign = certificate(&world);
    let other = World::with("socket", Way::OwnTls).await;
    foreign["authorities"] = certificate(&other)["authorities"].clone();
    other.stop().await;
    std::fs::write(&path, foreign.to_string()).unwrap();
    world.restart_agent().await;
    a_script_runs(&world).await;
    assert_ne!(certificate(&world)["authorities"], foreign["authorities"]);
    // All of it is damaged.
    world.kill_agent();
    std::fs::write(&path, "{").unwrap();
    world.restart_agent().await;
    a_script_runs(&world).await;
    world.stop().await;
}

/// Asks a server whether it lives, trusting one authority; the status.
async fn alive(server: &Server, authority: reqwest::Certificate) -> u16 {
    assert!(server.address.starts_with("https://"), "{}", server.address);
    let client = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    let answer = client.get(format!("{}/healthz", server.address)).send().await;
    answer.unwrap().status().as_u16()
}

#[tokio::test]
async fn the_api_is_served_with_a_certificate_of_the_fleets_authority() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start_with(data.path(), "127.0.0.1:0", &["--tls"]).await;
    let anybody = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap();
    let trust = anybody
        .post(format!("{}/agent/v1/trust", server.address))
        .json(&json!({"nonce": "n"}))
        .send()
        .await
        .unwrap();
    let trust: Value = trust.json().await.unwrap();
    let authority = STANDARD
        .decode(trust["body"]["authorities"][0].as_str().unwrap())
        .unwrap();
    let authority = reqwest::Certificate::from_der(&authority).unwrap();
    assert_eq!(alive(&server, authority).await, 200);
    // Whoever does not trust the fleet's authority gets no connection.
    let stranger = reqwest::Client::new()
        .get(format!("{}/healthz", server.address))
        .send()
        .await;
    assert!(stranger.unwrap_err().is_connect());
    server.kill().await;
}

#[tokio::test]
async fn the_api_is_served_with_the_operators_own_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let elsewhere = Fleet::builder(store, MasterKey::generate(&SystemRandom))
        .open()
        .await
        .unwrap();
    write_certificate(&elsewhere, folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (data, certificate, key) = (folder.path().join("data"), path("proxy.pem"), path("proxy.key"));
    std::fs::create_dir(&data).unwrap();
    let arguments = ["--tls-certificate", &certificate, "--tls-key", &key];
    let mut server = Server::start_with(&data, "127.0.0.1:0", &arguments).await;
    let authority = std::fs::read(path("ca.pem")).unwrap();
    assert_eq!(
        alive(&server, reqwest::Certificate::from_pem(&authority).unwrap()).await,
        200
    );
    server.kill().await;
}
