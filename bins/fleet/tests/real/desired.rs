//! What devices shall be.

use super::*;

/// A server with a device, a group that it is in, and an action.
fn authored() -> Server {
    let server = Server::start();
    server.device("web-1");
    server.json(&["groups", "create", "web"]);
    server.json(&["groups", "add", "web", "web-1"]);
    server.json(&["actions", "create", "Motd", "file", "--params", MOTD]);
    server
}

#[test]
fn a_content_comes_from_a_file_and_is_uploaded_where_it_is_large_or_no_text() {
    let server = Server::start();
    let path = server.home.path().join("content");
    let file = path.to_str().unwrap();
    let kept = |content: &[u8], member: &str| {
        std::fs::write(&path, content).unwrap();
        let name = format!("{member} {}", content.len());
        let params = r#"{"path": "/srv/film"}"#;
        let create = ["actions", "create", &name, "file", "--params", params];
        let made = server.json(&[&create[..], &["--content-from", file]].concat());
        made["params"][member].as_str().unwrap().to_owned()
    };
    assert_eq!(kept(b"welcome\n", "content"), "welcome\n");
    assert_eq!(kept(&[b'x'; 16 << 10], "content").len(), 16 << 10);
    let large = kept(&[b'x'; (16 << 10) + 1], "content_blob");
    assert_eq!(kept(&[0xff, 0xfe], "content_blob").len(), 64);
    let changed = ["actions", "set", "content 8", "--params", r#"{"path": "/srv/film"}"#];
    std::fs::write(&path, [b'x'; (16 << 10) + 1]).unwrap();
    let changed = server.json(&[&changed[..], &["--content-from", file]].concat());
    assert_eq!(changed["params"]["content_blob"], json!(large));
    let twice = [
        "actions",
        "create",
        "Twice",
        "file",
        "--params",
        MOTD,
        "--content-from",
        file,
    ];
    server.refused(&twice, 2, "the content stands in --params already");
    std::fs::write(&path, vec![0; (10 << 20) + 1]).unwrap();
    let huge = ["actions", "create", "Huge", "file", "--content-from", file];
    server.refused(&huge, 1, "larger than");
}

#[test]
fn an_action_is_made_changed_and_deleted() {
    let server = authored();
    let shown = server.json(&["actions", "show", "motd"]);
    assert_eq!(
        (&shown["operation"], &shown["state"]),
        (&json!("file"), &json!("present"))
    );
    assert_eq!(server.listed(&["actions", "list"], "/name"), ["Motd"]);
    assert_eq!(
        server.listed(&["actions", "list", "--operation", "file"], "/name"),
        ["Motd"]
    );
    assert!(
        server
            .listed(&["actions", "list", "--operation", "shell"], "/name")
            .is_empty()
    );
    assert_eq!(server.listed(&["actions", "list", "--unassigned"], "/name"), ["Motd"]);
    server.json(&[
        "actions", "set", "Motd", "--absent", "--name", "No motd", "--every", "1h",
    ]);
    let shown = server.json(&["actions", "show", "No motd"]);
    assert_eq!(
        (&shown["state"], &shown["rhythm"]["when"]["every_seconds"]),
        (&json!("absent"), &json!(3_600))
    );
    server.json(&["actions", "delete", "No motd"]);
    assert!(server.listed(&["actions", "list"], "/name").is_empty());

    server.refused(&["actions", "create", "x", "teleport"], 2, "teleport");
    server.refused(
        &["actions", "create", "x", "file", "--params", "[]"],
        2,
        "no JSON object",
    );
    server.refused(
        &["actions", "create", "x", "file", "--every", "soon"],
        2,
        "30s, 5m, 2h or 7d",
    );
    server.refused(&["actions", "show", "Motd"], 3, "there is no action Motd");
}

#[test]
fn an_action_is_carried_out_once_on_devices_that_do_not_have_it() {
    let server = authored();
    server.device("web-2");
    let told = server.json(&["actions", "run", "motd", "--on", "web-2", "--no-wait"]);
    let batch = &told["batch"];
    let action = server.json(&["actions", "show", "Motd"]);
    assert_eq!(
        (&batch["action"], &batch["operation"], &batch["params"]["path"]),
        (&action["id"], &json!("file"), &json!("/etc/motd"))
    );
    assert_eq!(
        server.listed(&["actions", "list", "--unassigned"], "/name"),
        ["Motd"],
        "nothing is kept up by it"
    );
    let web = ["actions", "run", "Motd", "--group", "web", "--no-wait"];
    let dry = server.json(&[&web[..], &["--dry-run-first"]].concat());
    assert_eq!(dry["batch"]["params"]["dry_run"], true);
    let done = server.fleet(&web);
    assert_eq!(done.code, 0, "{done:?}");
    let runs = server.listed(&["runs", "list", "--batch", done.out.trim()], "/device_name");
    assert_eq!(runs, ["web-1"]);

    server.refused(&["actions", "run", "Motd"], 2, "--on");
    server.refused(&["actions", "run", "Issue", "--all"], 3, "there is no action Issue");
}

#[test]
fn sets_and_definitions_hold_actions_in_order() {
    let server = authored();
    server.json(&[
        "actions",
        "create",
        "Tools",
        "package",
        "--params",
        r#"{"name": "htop"}"#,
    ]);
    let made = server.json(&["action-sets", "create", "Base", "--action", "Tools", "--action", "Motd"]);
    assert_eq!(made["members"].as_array().unwrap().len(), 2);
    server.json(&["action-sets", "set", "Base", "--action", "Motd", "--on-failure", "stop"]);
    let shown = server.json(&["action-sets", "show", "Base"]);
    assert_eq!(
        (shown["members"].as_array().unwrap().len(), &shown["on_failure"]),
        (1, &json!("stop"))
    );
    server.json(&[
        "definitions",
        "create",
        "Web server",
        "--set",
        "Base",
        "--action",
        "Tools",
    ]);
    server.json(&["definitions", "set", "Web server", "--rename", "Front"]);
    assert_eq!(server.listed(&["definitions", "list"], "/name"), ["Front"]);
    let members = server.json(&["definitions", "show", "Front"])["members"].clone();
    assert_eq!(members.as_array().unwrap().len(), 2);

    server.refused(
        &["action-sets", "create", "x", "--set", "Base"],
        2,
        "a definition holds sets",
    );
    server.refused(
        &["definitions", "create", "x", "--action", "nothing"],
        3,
        "there is no action nothing",
    );
    server.refused(&["definitions", "set", "Front"], 2, "say what to change");
    server.refused(&["action-sets", "delete", "Base"], 4, "");
    server.json(&["definitions", "delete", "Front"]);
    server.json(&["action-sets", "delete", "Base"]);
    assert!(server.listed(&["action-sets", "list"], "/name").is_empty());
}

#[test]
fn an_assignment_is_made_found_changed_and_taken_back() {
    let server = authored();
    server.json(&[
        "actions",
        "create",
        "Tools",
        "package",
        "--params",
        r#"{"name": "htop"}"#,
    ]);
    let made = server.json(&["assign", "--action", "Motd", "--to-group", "web"]);
    assert_eq!(server.listed(&["actions", "list", "--unassigned"], "/name"), ["Tools"]);
    assert_eq!(made["mode"], "required");
    server.json(&[
        "assign",
        "--action",
        "Tools",
        "--to-device",
        "web-1",
        "--mode",
        "available",
    ]);
    let list = |more: &[&str]| server.listed(&[&["assignments", "list"], more].concat(), "/source_name");
    assert_eq!(list(&[]), ["Motd", "Tools"]);
    assert_eq!(list(&["--to-group", "web"]), ["Motd"]);
    assert_eq!(list(&["--action", "Tools"]), ["Tools"]);
    assert_eq!(list(&["--mode", "available"]), ["Tools"]);
    assert!(list(&["--mode", "required", "--to-device", "web-1"]).is_empty());

    let assignment = &id(&made);
    server.json(&["assignments", "set", assignment, "--mode", "excluded", "--order", "-3"]);
    let shown = server.json(&["assignments", "show", assignment]);
    assert_eq!((&shown["mode"], &shown["order"]), (&json!("excluded"), &json!(-3)));
    server.json(&["assignments", "delete", assignment]);
    assert_eq!(list(&[]), ["Tools"]);

    server.refused(&["assignments", "set", assignment], 2, "--mode or --order");
    server.refused(&["assignments", "show", assignment], 3, "assignment");
    server.refused(&["assign", "--action", "Motd"], 2, "--to-device");
    server.refused(
        &["assign", "--action", "Motd", "--set", "x", "--to-device", "web-1"],
        2,
        "cannot be used",
    );
    server.refused(&["assignments", "list", "--mode", "perhaps"], 2, "perhaps");
    server.refused(
        &["assignments", "list", "--to-user", "nobody"],
        3,
        "there is no user nobody",
    );
}

#[test]
fn what_is_assigned_is_explained_and_becomes_a_manifest() {
    let server = authored();
    server.refused(&["manifest", "web-1"], 3, "manifest");
    server.json(&["assign", "--action", "Motd", "--to-group", "web"]);
    assert_eq!(server.listed(&["why", "web-1"], "/name"), ["Motd"]);
    assert_eq!(server.listed(&["why", "web-1", "Motd"], "/outcome").len(), 1);
    let kept = async { server.fleet.desired().manifests().keep_current().await };
    server.runtime.block_on(kept).unwrap();
    assert_eq!(server.json(&["manifest", "web-1"])["version"], 1);
    assert_eq!(
        server.listed(&["manifest", "web-1", "--history"], "/event"),
        ["compiled"]
    );
    server.refused(&["why", "web-1", "nothing"], 3, "there is no action nothing");
    server.refused(&["manifest", "nobody"], 3, "there is no device nobody");
}

#[test]
fn what_is_available_to_the_devices_of_somebody_is_chosen_there() {
    let server = authored();
    server.json(&["assign", "--action", "Motd", "--to-user", "ada", "--mode", "available"]);
    let available = || server.listed(&["devices", "available", "web-1"], "/name");
    assert!(available().is_empty(), "it is nobody's device");
    let owners = server.json(&["devices", "owners", "web-1", "--give-to", "ada"]);
    assert_eq!(owners["users"].as_array().unwrap().len(), 1);
    assert_eq!(server.json(&["devices", "owners", "web-1"]), owners);
    assert_eq!(available(), ["Motd"]);
    let chosen = || server.json(&["devices", "available", "web-1"])[0]["selected"].clone();
    assert_eq!(chosen(), false);
    server.json(&["devices", "select", "web-1", "--action", "Motd"]);
    assert_eq!(chosen(), true);
    server.json(&["devices", "deselect", "web-1", "--action", "Motd"]);
    assert_eq!(chosen(), false);
    server.json(&["devices", "owners", "web-1", "--nobody"]);
    assert!(available().is_empty());

    server.refused(&["devices", "select", "web-1"], 2, "--action");
    server.refused(
        &["devices", "owners", "web-1", "--nobody", "--give-to", "ada"],
        2,
        "cannot be used",
    );
    server.refused(
        &["devices", "owners", "web-1", "--give-to", "nobody"],
        3,
        "there is no user nobody",
    );
}
