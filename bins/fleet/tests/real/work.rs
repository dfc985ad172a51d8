//! Work: batches, runs, approvals and plans.

use super::*;

const REFRESH: &[&str] = &["refresh", "--on", "web-1", "--no-wait"];

fn with_device() -> Server {
    let server = Server::start();
    server.device("web-1");
    server
}

/// Asks for work; its batch.
fn ask(server: &Server, more: &[&str]) -> String {
    id(&server.json(&[REFRESH, more].concat())["batch"])
}

#[test]
fn a_batch_is_asked_for_listed_stopped_and_tried_again() {
    let server = with_device();
    let batch = ask(&server, &[]);
    assert_eq!(server.listed(&["batches", "list"], "/id"), std::slice::from_ref(&batch));
    assert_eq!(
        server.listed(&["batches", "list", "--operation", "shell"], "/id").len(),
        0
    );
    let runs = server.listed(&["runs", "list", "--batch", &batch], "/id");
    assert_eq!(runs.len(), 1);
    for (flag, day, count) in [
        ("--from", "2000-01-01T00:00:00Z", 1),
        ("--to", "2000-01-01T00:00:00Z", 0),
        ("--finished-from", "2000-01-01T00:00:00Z", 0),
        ("--finished-to", "2100-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(
            server.listed(&["runs", "list", flag, day], "/id").len(),
            count,
            "{flag}"
        );
    }
    server.refused(&["runs", "list", "--from", "yesterday"], 2, "RFC 3339");
    server.refused(
        &["runs", "list", "--action", "nothing"],
        3,
        "there is no action nothing",
    );
    server.refused(&["runs", "retry", &runs[0]], 4, "only what has ended is tried again");
    server.refused(&["batches", "retry", &batch], 4, "no run of this batch ended");
    assert_eq!(server.json(&["batches", "cancel", &batch])["finished"], true);
    let again = server.json(&["batches", "retry", &batch, "--state", "cancelled"]);
    assert_eq!(again["retry_of"], json!(batch));
    let alone = server.json(&["runs", "retry", &runs[0]]);
    assert_eq!((&alone["retry_of"], &alone["runs"]), (&json!(batch), &json!(1)));
    assert_eq!(server.listed(&["batches", "list"], "/id").len(), 3);

    server.refused(&["batches", "show", "web-1"], 2, "whole id");
    server.refused(&["batches", "show", &batch.replace('0', "1")], 3, "batch");
    server.refused(&["batches", "retry", &batch, "--state", "wet"], 2, "wet");
}

#[test]
fn what_others_have_to_agree_to_waits_and_is_refused() {
    let server = with_device();
    let batch = ask(&server, &["--approvals", "1"]);
    let waiting = server.json(&["approvals", "list"]);
    let approval = id(&waiting[0]);
    assert_eq!(
        (waiting.as_array().unwrap().len(), &waiting[0]["batch"]),
        (1, &json!(batch))
    );
    server.refused(&["approvals", "approve", &approval], 3, "somebody else has to agree");
    server.refused(&["approve", &approval], 3, "somebody else has to agree");
    let refused = server.json(&["approvals", "reject", &approval, "--comment", "not today"]);
    assert_eq!(refused["standing"], "rejected");
    assert!(server.listed(&["approvals", "list"], "/id").is_empty());
    assert_eq!(
        server.listed(&["approvals", "list", "--decided"], "/standing"),
        ["rejected"]
    );
    assert_eq!(
        server.json(&["approvals", "show", &approval])["decisions"][0]["comment"],
        "not today"
    );
    server.refused(&["approvals", "reject", &approval], 4, "refused already");
    server.refused(&["approvals", "show", "today"], 2, "no approval's id");

    // Whoever tries it again asks anew.
    let run = server.listed(&["runs", "list", "--batch", &batch], "/id").remove(0);
    let again = server.fleet(&["runs", "retry", &run]);
    assert!(again.out.contains("once approval"), "{again:?}");
    assert_eq!(server.listed(&["approvals", "list"], "/id").len(), 1);
}

#[test]
fn a_plan_is_made_started_changed_and_deleted() {
    let server = with_device();
    let nightly = [
        "plans",
        "create",
        "Nightly",
        "--all",
        "--operation",
        "inventory.refresh",
        "--cron",
        "0 2 * * *",
    ];
    let made = server.json(&nightly);
    assert_eq!(made["enabled"], true);
    assert_eq!(server.listed(&["plans", "list"], "/name"), ["Nightly"]);
    let batch = server.json(&["plans", "start", "nightly"]);
    assert_eq!((&batch["plan"], &batch["runs"]), (&made["id"], &json!(1)));
    server.json(&["plans", "set", "Nightly", "--by-hand", "--name", "By hand"]);
    assert_eq!(server.json(&["plans", "show", "By hand"])["schedule"], Value::Null);
    server.json(&["plans", "delete", "By hand"]);
    assert!(server.listed(&["plans", "list"], "/name").is_empty());

    server.refused(&["plans", "create", "x", "--all"], 2, "say what it does");
    server.refused(
        &["plans", "create", "x", "--all", "--cron", "daily", "--", "true"],
        2,
        "cron",
    );
    server.refused(&["plans", "start", "Nightly"], 3, "there is no plan Nightly");
}

/// `fleet` without a terminal, wherever the test runs.
fn unattended(server: &Server, arguments: &[&str]) -> Done {
    server.run(
        Command::new("setsid")
            .arg("--wait")
            .arg(env!("CARGO_BIN_EXE_fleet"))
            .args(arguments),
    )
}

#[test]
fn risky_work_on_all_devices_is_done_when_their_number_is_confirmed() {
    let server = with_device();
    server.device("web-2");
    let run = |more: &[&str]| {
        unattended(
            &server,
            &[&["run", "--all", "--no-wait"], more, &["--", "true"]].concat(),
        )
    };
    let refused = run(&[]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(
        refused.err.contains("on 2 devices") && refused.err.contains("--confirm 2"),
        "{refused:?}"
    );
    let refused = run(&["--confirm", "3"]);
    assert!(refused.code == 4 && refused.err.contains("not 3"), "{refused:?}");
    assert!(server.listed(&["batches", "list"], "/id").is_empty());
    assert_eq!(run(&["--confirm", "2"]).code, 0);
    assert_eq!(run(&["--yes"]).code, 0);
    assert_eq!(server.listed(&["batches", "list"], "/id").len(), 2);
    assert_eq!(run(&["--yes", "--confirm", "2"]).code, 2);
    // What does no harm, and what reaches one device, asks nobody.
    let refresh = unattended(&server, &["refresh", "--all", "--no-wait"]);
    assert_eq!(refresh.code, 0, "{refresh:?}");
    let one = unattended(&server, &["run", "--on", "web-1", "--no-wait", "--", "true"]);
    assert_eq!(one.code, 0, "{one:?}");
}

#[test]
fn a_risky_plan_is_confirmed_when_it_is_set() {
    let server = with_device();
    server.device("web-2");
    let create = ["plans", "create", "Clean", "--all", "--", "true"];
    assert_eq!(unattended(&server, &create).code, 4);
    let create = ["plans", "create", "Clean", "--all", "--confirm", "2", "--", "true"];
    assert_eq!(unattended(&server, &create).code, 0);
    assert_eq!(
        unattended(&server, &["plans", "set", "Clean", "--name", "Tidy"]).code,
        0
    );
    let other = unattended(&server, &["plans", "set", "Tidy", "--", "false"]);
    assert!(other.code == 4 && other.err.contains("on 2 devices"), "{other:?}");
    assert_eq!(
        unattended(&server, &["plans", "set", "Tidy", "--yes", "--", "false"]).code,
        0
    );
}

#[test]
fn on_a_terminal_the_number_is_typed() {
    let server = with_device();
    server.device("web-2");
    // util-linux' `script` gives the command a terminal of its own.
    let typed = |text: &str| {
        let command = format!("{} run --all --no-wait -- true", env!("CARGO_BIN_EXE_fleet"));
        server.typing(Command::new("script").args(["-qec", &command, "/dev/null"]), text)
    };
    let refused = typed("yes\n");
    assert!(refused.out.contains("on 2 devices. Type 2 to go on:"), "{refused:?}");
    assert!(
        refused.code == 2 && refused.out.contains("nothing was asked for"),
        "{refused:?}"
    );
    assert!(server.listed(&["batches", "list"], "/id").is_empty());
    let done = typed("2\n");
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(server.listed(&["batches", "list"], "/id").len(), 1);
}

#[test]
fn the_key_of_a_calendar_is_printed_as_the_address_to_subscribe_to() {
    let server = Server::start();
    let window = [
        "windows",
        "create",
        "Nights",
        "--all-devices",
        "--cron",
        "0 3 * * *",
        "--for",
        "2h",
    ];
    server.json(&window);
    let made = server.fleet(&["keys", "create", "Calendar", "--calendar"]);
    assert_eq!(made.code, 0, "{made:?}");
    let address = made.out.trim();
    assert!(address.contains("/api/v1/windows/calendar.ics?token="), "{made:?}");
    assert!(server.read(address).1.contains("SUMMARY:Maintenance: Nights"));
    assert_eq!(server.listed(&["keys", "list"], "/purpose"), ["calendar"]);
    server.json(&["keys", "delete", "Calendar"]);
    assert_eq!(server.read(address).0, 401);
    server.refused(&["keys", "create", "x"], 2, "--role");
    server.refused(
        &["keys", "create", "x", "--calendar", "--role", "viewer"],
        2,
        "cannot be used",
    );
}
