//! What the command line does when things go wrong, seen from outside: exit code, text, and what it asked the server for.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod coverage;
mod fake;
mod orders;
mod outputs;

use std::os::unix::fs::PermissionsExt as _;

use fake::{Fake, fleet, json, page, problem, stream};
use serde_json::{Value, json as value};

const WEB: &str = "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41";
const DB: &str = "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a42";
const RUN: &str = "019aa5b2-4c6e-7a30-8f21-00000000aaaa";
const OTHER_RUN: &str = "019aa5b2-4c6e-7a30-8f21-00000000bbbb";
const BATCH: &str = "019aa5b2-4c6e-7a30-8f21-00000000cccc";

fn device(id: &str, name: &str) -> Value {
    value!({"id": id, "name": name, "presence": "online", "labels": {}})
}

fn run(id: &str, name: &str, state: &str) -> Value {
    value!({"id": id, "batch": BATCH, "device_name": name, "state": state, "terminal": state != "running",
        "ending": {"exit_code": if state == "succeeded" { 0 } else { 3 }}})
}

fn chunk(sequence: u32, stream: &str, text: &str) -> String {
    let data = value!({"sequence": sequence, "stream": stream, "text": text});
    format!("event: chunk\nid: {sequence}\ndata: {data}\n\n")
}

fn ended(run: &Value) -> String {
    format!("event: ended\ndata: {run}\n\n")
}

#[test]
fn every_problem_has_its_exit_code_and_its_text() {
    for (status, code, exit) in [
        (400, "request.invalid", 2),
        (401, "session.expired", 3),
        (403, "access.denied", 3),
        (404, "device.not_found", 3),
        (409, "device.conflict", 4),
        (412, "precondition.failed", 4),
        (500, "internal", 1),
    ] {
        let server = Fake::start(move |_, _| problem(status, code, "what went wrong"));
        let done = server.fleet(&["devices", "show", WEB]);
        assert_eq!(done.code, exit, "{status}: {done:?}");
        assert!(done.err.starts_with("fleet: what went wrong"), "{done:?}");
        assert_eq!(done.err.contains("fleet login"), status == 401, "{done:?}");
        let done = server.fleet(&["-o", "json", "devices", "show", WEB]);
        let told: Value = serde_json::from_str(&done.err).unwrap();
        assert_eq!((done.code, &told["code"]), (exit, &value!(code)), "{status}");
        assert_eq!(done.out, "");
    }
}

#[test]
fn a_server_that_is_not_there_is_exit_code_5() {
    // Bound and never listened to: nobody else takes the port, and connections are refused.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let url = format!("http://{address}");
    let done = fleet(&["devices", "list"], &[("FLEET_URL", &url), ("FLEET_TOKEN", "x")], "");
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.err.contains("cannot be reached"), "{done:?}");
}

#[test]
fn nobody_signed_in_is_said() {
    let done = fleet(&["devices", "list"], &[], "");
    assert_eq!(done.code, 3, "{done:?}");
    assert!(
        done.err.contains("nobody is signed in") && done.err.contains("fleet login"),
        "{done:?}"
    );
    let done = fleet(&["devices", "list"], &[("FLEET_TOKEN", "x")], "");
    assert_eq!(done.code, 2, "{done:?}");
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [
        &["devices", "no-such-verb"][..],
        &["run", "--", "uname"],
        &["run", "--on", "web-1"],
        &["run", "--on", "web-1", "--timeout", "fast", "--", "uname"],
        &["run", "--on", "web-1", "--all", "--", "uname"],
        &["run", "--query", "os exists", "--label", "a=b", "--", "uname"],
        &["devices", "set", WEB],
        &["devices", "list", "--limit", "0"],
        &["login", "http://127.0.0.1:1", "--name", "admin", "--password", "secret"],
    ] {
        let server = Fake::start(|_, _| problem(500, "internal", "this should not be asked"));
        let done = server.fleet(arguments);
        assert_eq!(done.code, 2, "{arguments:?}: {done:?}");
        assert_eq!(server.asked(), Vec::<String>::new(), "{arguments:?}");
    }
}

#[test]
fn an_ambiguous_name_is_an_error_that_names_the_candidates() {
    let server = Fake::start(|_, _| page(value!([device(WEB, "web"), device(DB, "web")]), None));
    let done = server.fleet(&["devices", "show", "web"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.err.contains(WEB) && done.err.contains(DB), "{done:?}");
    assert_eq!(server.asked(), ["GET /api/v1/devices?search=web&limit=500"]);
}

#[test]
fn a_name_or_the_last_digits_name_a_device() {
    for text in ["WEB-1", "6b7e9a41", WEB] {
        let server = Fake::start(|seen, _| match &*seen.target {
            target if target.starts_with("/api/v1/devices?") => {
                page(value!([device(WEB, "web-1"), device(DB, "web-10")]), None)
            }
            _ => json(200, device(WEB, "web-1")),
        });
        let done = server.fleet(&["devices", "show", text, "-o", "json"]);
        assert_eq!(done.code, 0, "{text}: {done:?}");
        assert_eq!(server.asked().last().unwrap(), &format!("GET /api/v1/devices/{WEB}"));
    }
    let server = Fake::start(|_, _| page(value!([]), None));
    let done = server.fleet(&["devices", "show", "nobody"]);
    assert_eq!(
        (done.code, done.err.lines().next()),
        (3, Some("fleet: there is no device nobody"))
    );
}

#[test]
fn all_pages_are_read_and_a_limit_is_kept() {
    let answer = |seen: &fake::Seen, _| {
        if seen.target.contains("page_token=two") {
            page(value!([device(DB, "db")]), None)
        } else {
            page(value!([device(WEB, "web")]), Some("two"))
        }
    };
    let server = Fake::start(answer);
    let done = server.fleet(&["devices", "list", "--all", "-o", "json"]);
    let items: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((items.as_array().unwrap().len(), &items[1]["name"]), (2, &value!("db")));
    assert_eq!(
        server.asked(),
        [
            "GET /api/v1/devices?limit=500",
            "GET /api/v1/devices?limit=500&page_token=two"
        ]
    );
    let server = Fake::start(answer);
    let done = server.fleet(&["devices", "list", "--limit", "1"]);
    assert!(done.out.contains("web") && !done.out.contains("db"), "{done:?}");
    assert!(done.err.contains("there are more"), "{done:?}");
    assert_eq!(server.asked(), ["GET /api/v1/devices?limit=1"]);
}

#[test]
fn a_list_without_an_end_is_refused() {
    let server = Fake::start(|_, _| page(value!([device(WEB, "web")]), Some("again")));
    let done = server.fleet(&["devices", "list", "--all"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.err.contains("does not end"), "{done:?}");
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn an_answer_that_is_not_ours_is_an_error() {
    for body in ["<html>", "", "{}", "[]"] {
        let server = Fake::start(move |_, _| axum::http::Response::new(axum::body::Body::from(body)));
        let done = server.fleet(&["devices", "list"]);
        assert_eq!(done.code, 1, "{body:?}: {done:?}");
    }
}

#[test]
fn a_redirect_is_not_followed_with_the_token() {
    let elsewhere = Fake::start(|_, _| page(value!([]), None));
    let to = elsewhere.url();
    let server = Fake::start(move |_, _| {
        let response = axum::http::Response::builder()
            .status(307)
            .header("location", to.clone());
        response.body(axum::body::Body::empty()).unwrap()
    });
    assert_eq!(server.fleet(&["devices", "list"]).code, 1);
    assert_eq!(elsewhere.asked(), Vec::<String>::new());
}

#[test]
fn a_change_is_made_to_what_was_read() {
    let server = Fake::start(|seen, _| match seen.method.as_str() {
        "GET" => axum::http::Response::builder()
            .header("etag", "\"7\"")
            .body(axum::body::Body::from(device(WEB, "web").to_string()))
            .unwrap(),
        _ => problem(412, "precondition.failed", "somebody was faster"),
    });
    let done = server.fleet(&["devices", "label", WEB, "env=prod", "old-"]);
    assert_eq!(done.code, 4, "{done:?}");
    let change = &server.requests()[1];
    assert_eq!(change.header("if-match"), "\"7\"");
    assert_eq!(change.json(), value!({"labels": {"env": "prod", "old": null}}));
}

#[test]
fn work_is_asked_for_again_under_the_same_key_when_the_server_cannot_serve() {
    let server = Fake::start(|seen, before| match (seen.method.as_str(), before) {
        ("POST", 0) => problem(503, "unavailable", "wait"),
        _ => json(201, value!({"id": BATCH})),
    });
    let done = server.fleet(&["refresh", "--on", WEB, "--no-wait"]);
    assert_eq!((done.code, done.out), (0, format!("{BATCH}\n")), "{}", done.err);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].header("idempotency-key").len(), 36);
    assert_eq!(
        requests[0].header("idempotency-key"),
        requests[1].header("idempotency-key")
    );
    assert_eq!(
        requests[0].json(),
        value!({"operation": "inventory.refresh", "params": {"sections": []}, "targets": {"devices": [WEB]}})
    );
}

#[test]
fn devices_are_asked_to_apply_their_state_and_windows_are_ignored_aloud() {
    let check = |more: &[&str], ignore: bool, batch: &serde_json::Value| {
        let server = Fake::start(|_, _| json(201, value!({"id": BATCH})));
        let done = server.fleet(&[&["sync", "--on", WEB, "--no-wait"], more].concat());
        assert_eq!(done.code, 0, "{}", done.err);
        let mut expected = value!({
            "operation": "sync",
            "params": {"ignore_windows": ignore},
            "targets": {"devices": [WEB]},
        });
        if !batch.is_null() {
            expected["ignore_windows"] = batch.clone();
        }
        assert_eq!(server.requests()[0].json(), expected);
    };
    check(&[], false, &value!(null));
    check(&["--ignore-windows"], true, &value!(true));
    check(&["--heed-windows"], false, &value!(false));
}

#[test]
fn an_action_is_asked_for_with_its_parameters_as_they_were_given() {
    let server = Fake::start(|_, _| json(201, value!({"id": BATCH})));
    let given = r#"{"path": "/etc/motd", "content": "x"}"#;
    let done = server.fleet(&[
        "apply",
        "file",
        "--on",
        WEB,
        "--no-wait",
        "--params",
        given,
        "--dry-run",
        "--absent",
    ]);
    assert_eq!((done.code, done.out), (0, format!("{BATCH}\n")), "{}", done.err);
    let params = value!({"path": "/etc/motd", "content": "x", "dry_run": true, "state": "absent"});
    assert_eq!(
        server.requests()[0].json(),
        value!({"operation": "file", "params": params, "targets": {"devices": [WEB]}})
    );
    let done = server.fleet(&["apply", "file", "--on", WEB, "--params", "[]"]);
    assert_eq!((done.code, server.requests().len()), (2, 1), "{}", done.err);
}

#[test]
fn a_token_is_made_once_and_printed_bare() {
    let server = Fake::start(|_, _| json(201, value!({"id": WEB, "token": "fle1_secret"})));
    let done = server.fleet(&["tokens", "create", "--max-uses", "2", "--label", "a=b"]);
    assert_eq!((done.code, done.out.as_str()), (0, "fle1_secret\n"), "{done:?}");
    assert_eq!(
        server.requests()[0].json(),
        value!({"description": "", "max_uses": 2, "labels": {"a": "b"}})
    );
    // It may have been made although the answer is bad: a second one would be nobody's.
    let server = Fake::start(|_, _| problem(503, "unavailable", "wait"));
    assert_eq!((server.fleet(&["tokens", "create"]).code, server.asked().len()), (5, 1));
}

#[test]
fn a_deletion_is_not_repeated() {
    let server = Fake::start(|_, _| problem(503, "unavailable", "wait"));
    assert_eq!(server.fleet(&["devices", "delete", WEB]).code, 5);
    assert_eq!(server.asked().len(), 1);
}

/// A server on which `fleet run` meets two devices, one of which fails.
fn two_devices() -> Fake {
    Fake::start(|seen, _| match (seen.method.as_str(), &*seen.target) {
        ("POST", "/api/v1/batches") => json(201, value!({"id": BATCH})),
        ("GET", target) if target.starts_with("/api/v1/devices?") => {
            page(value!([device(WEB, "web"), device(DB, "db-long")]), None)
        }
        ("GET", target) if target.starts_with("/api/v1/runs?") => page(
            value!([run(RUN, "web", "running"), run(OTHER_RUN, "db-long", "running")]),
            None,
        ),
        ("GET", target) if target.contains(RUN) => stream(
            &(chunk(0, "stdout", "a\nb") + &ended(&run(RUN, "web", "succeeded"))),
            false,
        ),
        ("GET", target) if target.contains(OTHER_RUN) => stream(
            &(chunk(0, "stderr", "oh\n") + &ended(&run(OTHER_RUN, "db-long", "failed"))),
            false,
        ),
        ("GET", _) => json(200, value!({"id": BATCH, "finished": true})),
        _ => problem(500, "internal", "unexpected"),
    })
}

#[test]
fn a_run_on_several_devices_names_them_and_fails_when_one_failed() {
    let server = two_devices();
    let done = server.fleet(&["run", "--label", "env=prod", "--timeout", "2m", "--", "echo", "a b"]);
    assert_eq!(done.code, 6, "{done:?}");
    assert_eq!(done.out, "web     | a\nweb     | b\n");
    assert!(done.err.contains("db-long | oh\n"), "{done:?}");
    assert!(
        done.err
            .contains("1 succeeded, 1 failed\ndb-long: failed (exit code 3)"),
        "{done:?}"
    );
    let created = server
        .requests()
        .into_iter()
        .find(|seen| seen.method == "POST")
        .unwrap();
    assert_eq!(
        created.json(),
        value!({"operation": "shell", "params": {"script": "echo 'a b'"}, "targets": {"labels": ["env=prod"]}, "timeout_seconds": 120})
    );
    assert_eq!(created.header("idempotency-key").len(), 36);
}

#[test]
fn programs_get_one_document_about_a_run() {
    let done = two_devices().fleet(&["run", "--all", "-o", "json", "--", "true"]);
    assert_eq!(done.code, 6, "{done:?}");
    let told: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(told["batch"]["finished"], true);
    let mut states: Vec<_> = told["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["state"].as_str().unwrap())
        .collect();
    states.sort_unstable();
    assert_eq!(states, ["failed", "succeeded"]);
}

#[test]
fn a_run_can_be_left_alone() {
    let server = two_devices();
    let done = server.fleet(&["run", "--all", "--no-wait", "--", "true"]);
    assert_eq!((done.code, done.out), (0, format!("{BATCH}\n")));
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn signing_in_keeps_the_session_for_its_server_and_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet/credentials.toml");
    let kept = ("FLEET_CREDENTIALS", file.to_str().unwrap());
    let server = Fake::start(|seen, _| match seen.method.as_str() {
        "POST" if seen.json() == value!({"name": "admin", "password": "hunter2"}) => json(
            201,
            value!({"token": "fls1_kept", "expires_at": "2027-01-01T00:00:00Z"}),
        ),
        "POST" => problem(401, "session.wrong_password", "wrong name or password"),
        "GET" => page(value!([]), None),
        _ => json(200, value!({})),
    });
    let url = server.url();
    let login = ["login", &url, "--name", "admin", "--password-file", "-"];
    let done = fleet(&login, &[kept], "wrong\n");
    assert_eq!((done.code, file.exists()), (3, false), "{done:?}");
    let done = fleet(&login, &[kept], "hunter2\n");
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    assert_eq!(fleet(&["devices", "list"], &[kept], "").code, 0);
    assert_eq!(
        server.requests().last().unwrap().header("authorization"),
        "Bearer fls1_kept"
    );

    // Another server is not told the token.
    let other = Fake::start(|_, _| page(value!([]), None));
    let done = fleet(&["devices", "list"], &[kept, ("FLEET_URL", &other.url())], "");
    assert_eq!((done.code, other.asked().len()), (3, 0), "{done:?}");

    assert_eq!(fleet(&["logout"], &[kept], "").code, 0);
    assert_eq!(server.asked().last().unwrap(), "DELETE /api/v1/sessions/current");
    assert!(!file.exists());
}

#[test]
fn a_password_is_never_asked_for_where_nobody_can_answer() {
    let server = Fake::start(|_, _| problem(500, "internal", "this should not be asked"));
    let url = server.url();
    let mut command = std::process::Command::new("setsid");
    // A session of its own has no terminal.
    let output = command
        .args(["--wait", env!("CARGO_BIN_EXE_fleet"), "login", &url, "--name", "admin"])
        .env("HOME", "/nonexistent")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("--password-file"), "{text}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure_to_talk_of() {
    let items: Vec<_> = (0..500).map(|_| device(WEB, &"x".repeat(500))).collect();
    let server = Fake::start(move |_, _| page(Value::Array(items.clone()), None));
    let script = format!("{} devices list -o json | head -n 1", env!("CARGO_BIN_EXE_fleet"));
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .env("FLEET_URL", server.url())
        .env("FLEET_TOKEN", "x")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn completions_need_no_server() {
    for shell in ["bash", "zsh", "fish"] {
        let done = fleet(&["completions", shell], &[], "");
        assert!(done.code == 0 && done.out.contains("bootstrap"), "{shell}");
    }
}

#[test]
fn a_window_is_asked_for_as_it_was_typed() {
    let server = Fake::start(|_, _| {
        json(
            201,
            value!({"id": WEB, "in_words": "every day at 03:00 UTC, for 2 hours"}),
        )
    });
    let made = server.fleet(&[
        "windows",
        "create",
        "Nights",
        "--device",
        WEB,
        "--cron",
        "0 3 * * *",
        "--for",
        "2h",
        "--give-up-after",
        "1d",
    ]);
    assert_eq!(
        made.out, "created window Nights: every day at 03:00 UTC, for 2 hours\n",
        "{}",
        made.err
    );
    assert_eq!(
        server.requests()[0].json(),
        value!({"name": "Nights", "kind": "maintenance", "enabled": true, "scope": {"groups": [], "devices": [WEB]},
            "when": {"type": "recurring", "cron": "0 3 * * *", "zone": "UTC", "duration_seconds": 7_200},
            "outside": {"policy": "postpone", "give_up_after_seconds": 86_400}})
    );
    // What is missing is said before anything is sent.
    let lacking = server.fleet(&["windows", "create", "Nights", "--all-devices"]);
    assert_eq!((lacking.code, server.requests().len()), (2, 1), "{}", lacking.err);
}

#[test]
fn a_schedule_is_told_in_words_and_times() {
    let answer = value!({"description": "every Sunday at 03:00 UTC", "times": ["2027-01-03T03:00:00.000000Z"]});
    let server = Fake::start(move |_, _| json(200, answer.clone()));
    let told = server.fleet(&["schedule", "preview", "0 3 * * 0", "--count", "1"]);
    assert_eq!(
        told.out, "every Sunday at 03:00 UTC\n2027-01-03T03:00:00.000000Z\n",
        "{}",
        told.err
    );
    assert_eq!(
        server.requests()[0].json(),
        value!({"schedule": {"type": "cron", "cron": "0 3 * * 0", "zone": "UTC"}, "count": 1})
    );
}

#[test]
fn waves_are_asked_for_as_they_were_given() {
    let group = "019aa5b2-4c6e-7a30-8f21-00000000dddd";
    let server = Fake::start(move |seen, _| match seen.method.as_str() {
        "GET" => page(value!([{"id": group, "name": "canaries"}]), None),
        _ => json(201, value!({"id": BATCH, "rolls_out": true})),
    });
    let asked = [
        "--wave=1",
        "--wave=10%",
        "--wave=group:canaries",
        "--max-parallel=50",
        "--max-failures=5%",
        "--watch=10m",
        "--ignore-offline",
    ];
    let expected = |by_hand: bool| {
        value!({"waves": [{"type": "count", "devices": 1}, {"type": "percent", "percent": 10}, {"type": "groups", "groups": [group]}],
            "max_parallel": 50, "max_failures": {"type": "percent", "percent": 5}, "watch_seconds": 600, "by_hand": by_hand,
            "ignore_offline": true})
    };
    let run = ["run", "--all", "--no-wait", "--by-hand"];
    let plan = ["plans", "create", "Rings", "--all", "--waves-by-hand"];
    let update = ["agents", "update", "--all", "--no-wait"];
    for (command, script, by_hand) in [
        (&run[..], &["--", "true"][..], true),
        (&plan[..], &["--", "true"][..], true),
        (&update[..], &[][..], false),
    ] {
        let done = server.fleet(&[command, &asked[..], script].concat());
        assert_eq!(done.code, 0, "{done:?}");
        assert_eq!(server.requests().last().unwrap().json()["rollout"], expected(by_hand));
    }
    for wrong in ["--wave=ten", "--wave=group:", "--max-failures=-1"] {
        let done = server.fleet(&["run", "--all", wrong, "--", "true"]);
        assert_eq!(done.code, 2, "{done:?}");
    }
}

#[test]
fn a_rollout_says_where_it_stands_and_which_devices_failed() {
    let words = "halted in wave 1 of 2: 2 devices failed, 1 may: web-1 (failed), db-1 (expired)";
    let server = Fake::start(move |_, _| {
        let failure = value!({"run": RUN, "device_name": "web-1", "state": "failed", "message": "no space left"});
        json(200, value!({"batch": BATCH, "in_words": words, "failures": [failure]}))
    });
    let done = server.fleet(&["rollouts", "show", BATCH]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.err.contains(words) && done.out.contains("no space left"),
        "{done:?}"
    );
    let path = format!("/api/v1/batches/{BATCH}/rollout");
    for (verb, body) in [
        (&["pause"][..], value!({})),
        (&["resume"], value!({})),
        (&["abort"], value!({"stop_running": false})),
        (&["abort", "--stop-running"], value!({"stop_running": true})),
    ] {
        let done = server.fleet(&[&["rollouts", verb[0], BATCH], &verb[1..]].concat());
        assert_eq!(done.code, 0, "{done:?}");
        assert!(done.out.contains(words) || done.err.contains(words), "{done:?}");
        let asked = server.requests().pop().unwrap();
        assert_eq!(
            (asked.target.clone(), asked.json()),
            (format!("{path}/{}", verb[0]), body)
        );
    }
}
