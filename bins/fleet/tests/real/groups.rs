//! Groups of devices.

use super::*;

#[test]
fn a_group_is_made_filled_changed_and_deleted() {
    let server = Server::start();
    server.device("web-1");
    let made = server.json(&["groups", "create", "web", "--description", "in front"]);
    assert_eq!((&made["name"], &made["query"]), (&json!("web"), &Value::Null));
    assert_eq!(server.listed(&["groups", "list"], "/name"), ["web"]);
    server.json(&["groups", "add", "web", "web-1"]);
    assert_eq!(server.json(&["groups", "show", "web"])["members"], 1);
    assert_eq!(
        server.listed(&["devices", "list", "--group", "web"], "/name"),
        ["web-1"]
    );
    server.json(&["groups", "remove", "web", "web-1"]);
    assert_eq!(server.json(&["groups", "show", "web"])["members"], 0);
    server.json(&["groups", "set", "web", "--name", "front"]);
    assert_eq!(server.listed(&["groups", "list"], "/name"), ["front"]);
    server.json(&["groups", "delete", "front"]);
    assert!(server.listed(&["groups", "list"], "/name").is_empty());
}

#[test]
fn a_group_may_be_described() {
    let server = Server::start();
    server.device("web-1");
    let checked = server.json(&["groups", "check", "name startsWith web"]);
    assert_eq!(checked["valid"], true, "{checked}");
    let made = server.json(&["groups", "create", "web", "--query", "name startsWith web"]);
    assert_eq!(made["query"], "name startsWith web");
}

#[test]
fn a_group_is_frozen_filled_by_hand_and_made_dynamic_again() {
    let server = Server::start();
    for name in ["web-1", "web-2", "db-1"] {
        server.device(name);
    }
    server.json(&["groups", "create", "web", "--query", "name startsWith web"]);
    let done = server.json(&["groups", "evaluate", "web"]);
    assert_eq!((&done["devices"], &done["complete"]), (&json!(3), &json!(true)));
    let frozen = server.json(&["groups", "freeze", "web"]);
    assert_eq!((&frozen["query"], &frozen["members"]), (&Value::Null, &json!(2)));
    server.json(&["groups", "add", "web", "db-1"]);
    server.json(&["groups", "remove", "web", "web-1"]);
    let members = ["devices", "list", "--group", "web"];
    assert_eq!(server.listed(&members, "/name"), ["db-1", "web-2"]);
    server.refused(&["groups", "evaluate", "web"], 2, "there is no query to evaluate");
    let dynamic = server.json(&["groups", "set", "web", "--query", "name startsWith db"]);
    assert_eq!(dynamic["query"], "name startsWith db");
    server.json(&["groups", "evaluate", "web"]);
    assert_eq!(server.listed(&members, "/name"), ["db-1"]);
    server.refused(&["groups", "add", "web", "web-1"], 2, "follow from its query");
}

#[test]
fn what_is_no_group_is_said() {
    let server = Server::start();
    server.device("web-1");
    server.json(&["groups", "create", "web"]);
    server.refused(&["groups", "create", "WEB"], 4, "name");
    server.refused(
        &["groups", "create", "x", "--query", "name resembles web"],
        2,
        "expected an operator",
    );
    server.refused(&["groups", "check", "name resembles web"], 2, "character");
    server.refused(&["groups", "show", "nobody"], 3, "there is no device group nobody");
    server.refused(&["groups", "set", "web"], 2, "say what to change");
    server.refused(&["groups", "add", "web", "nobody"], 3, "there is no device nobody");
    server.refused(&["groups", "add", "web"], 2, "DEVICES");
}
