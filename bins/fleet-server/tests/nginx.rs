//! Server and agent as they are shipped, with a real nginx between. `cargo xtask test` runs it where nginx is installed.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, reason = "tests")]

#[path = "processes/nginx.rs"]
mod nginx;
#[path = "processes/processes.rs"]
mod processes;
#[path = "processes/world.rs"]
mod world;

use serde_json::json;
use world::{Way, World};

async fn an_agent_works_through_nginx(transport: &'static str) {
    let mut world = World::with(transport, Way::Nginx).await;
    for _ in 0..2 {
        let run = world.run_script("echo through the proxy", 60).await;
        let view = world.until(&run, "finished", |run| run["terminal"] == true).await;
        assert_eq!(view["state"], "succeeded", "{view}");
        assert_eq!(world.output(&run).await, "through the proxy\n");
        world.restart_server().await;
    }
    world.section("os").await;
    world.stop().await;
}

#[tokio::test]
async fn by_socket_an_agent_works_through_nginx() {
    an_agent_works_through_nginx("socket").await;
}

#[tokio::test]
async fn by_polling_an_agent_works_through_nginx() {
    an_agent_works_through_nginx("poll").await;
}

/// Where the agent, and with it everybody, reaches the proxy.
fn proxy(world: &World) -> String {
    let identity = std::fs::read(world.path().join("agent/identity.json")).unwrap();
    let identity: serde_json::Value = serde_json::from_slice(&identity).unwrap();
    identity["address"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_address_of_a_client_is_what_the_proxy_saw_whatever_the_client_claims() {
    let world = World::with("poll", Way::Nginx).await;
    let authority = std::fs::read(world.path().join("ca.pem")).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&authority).unwrap()])
        .local_address("127.0.0.9".parse::<std::net::IpAddr>().unwrap())
        .build()
        .unwrap();
    let refused = client
        .post(format!("{}/api/v1/sessions", proxy(&world)))
        .header("x-forwarded-for", "198.51.100.7")
        .json(&json!({"name": "admin", "password": "wrong"}))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 401);
    let entries = world.get("/api/v1/audit-entries?limit=1").await;
    assert_eq!(entries["items"][0]["origin"]["address"], "127.0.0.9", "{entries}");
    world.stop().await;
}
