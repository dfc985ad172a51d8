//! The OpenAPI document: committed, served, and by the rules of this house.

use fleet_api::openapi;

use super::support::App;

const COMMITTED: &str = include_str!("../../../openapi/openapi.json");

#[test]
fn the_committed_document_is_what_the_server_says() {
    let printed = fleet_api::openapi_document();
    let differing = COMMITTED
        .lines()
        .zip(printed.lines())
        .enumerate()
        .find(|(_, (committed, printed))| committed != printed);
    assert!(
        COMMITTED == printed,
        "openapi/openapi.json is old: run `cargo xtask openapi` and commit it; first difference: {differing:?}"
    );
}

#[tokio::test]
async fn the_server_serves_its_document_to_anybody() {
    let app = App::new().await;
    let answer = app.get("/api/v1/openapi.json").send().await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.text, fleet_api::openapi_document());
}

#[test]
fn the_document_keeps_the_rules_of_this_house() {
    let document = serde_json::from_str(&fleet_api::openapi_document()).unwrap();
    assert_eq!(openapi::lint(&document), Vec::<String>::new());
}
