//! What is asked of the server when somebody wants work done.

use serde_json::{Value, json as value};

use super::{
    WEB, device,
    fake::{Fake, json, page, problem},
    two_devices,
};

#[test]
fn a_policy_of_trying_again_is_sent_as_it_was_given() {
    let check = |arguments: &[&str], expected: Value| {
        let server = two_devices();
        let done = server.fleet(&[&["apply", "service", "--all", "--no-wait"], arguments].concat());
        assert_eq!(done.code, 0, "{done:?}");
        assert_eq!(server.requests()[0].json()["retry"], expected);
    };
    check(&[], Value::Null);
    check(&["--retry", "2"], value!({"attempts": 2, "delay_seconds": 60}));
    check(
        &[
            "--retry",
            "3",
            "--retry-after",
            "5m",
            "--retry-after-at-most",
            "2h",
            "--retry-on",
            "lost",
        ],
        value!({"attempts": 3, "delay_seconds": 300, "max_delay_seconds": 7_200, "on": ["lost"]}),
    );
    for wrong in [&["--retry", "1", "--retry-on", "wet"][..], &["--retry-on", "lost"]] {
        let server = two_devices();
        let done = server.fleet(&[&["apply", "service", "--all"], wrong].concat());
        assert_eq!((done.code, server.asked().len()), (2, 0), "{done:?}");
    }
}

#[test]
fn a_priority_is_a_word() {
    for (given, expected) in [
        ("low", value!("low")),
        ("normal", Value::Null),
        ("high", value!("high")),
    ] {
        let server = two_devices();
        let done = server.fleet(&["run", "--all", "--no-wait", "--priority", given, "--", "true"]);
        assert_eq!(done.code, 0, "{done:?}");
        assert_eq!(server.requests()[0].json()["priority"], expected);
    }
    let server = two_devices();
    let done = server.fleet(&["run", "--all", "--priority", "9", "--", "true"]);
    assert_eq!((done.code, server.asked().len()), (2, 0));
    assert!(done.err.contains("one of low, normal, high"), "{done:?}");
}

#[test]
fn a_query_says_on_which_devices() {
    let server = two_devices();
    let done = server.fleet(&["run", "--query", "os equals debian", "--no-wait", "--", "true"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(
        server.requests()[0].json()["targets"],
        value!({"query": "os equals debian"})
    );
}

/// What is kept of a device: one in use, one that may be, one that was.
fn escrow() -> Fake {
    let ids = [
        "019aa5b2-0000-7000-8000-000000000001",
        "019aa5b2-0000-7000-8000-000000000002",
    ];
    Fake::start(move |seen, _| match (seen.method.as_str(), &*seen.target) {
        ("GET", target) if target.starts_with("/api/v1/devices?") => page(value!([device(WEB, "web")]), None),
        ("GET", target) if target.contains("subject=nobody") => page(value!([]), None),
        ("GET", target) if target.contains("/escrowed-secrets") => page(
            value!([
                {"id": ids[0], "state": "offered"},
                {"id": ids[1], "state": "current"},
                {"id": WEB, "state": "superseded"},
            ]),
            None,
        ),
        ("POST", target) => {
            let state = if target.contains(ids[0]) { "offered" } else { "current" };
            let about = value!({"state": state, "subject": "ana", "offered_at": "2027-01-15T08:00:00Z"});
            json(200, value!({"about": about, "secret": format!("secret of {state}")}))
        }
        _ => problem(500, "internal", "unexpected"),
    })
}

#[test]
fn a_secret_is_revealed_with_those_that_may_be_in_use() {
    let server = escrow();
    let done = server.fleet(&["escrow", "reveal", "web", "--user", "ana"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.out.contains("secret of current") && done.out.contains("secret of offered"),
        "{done:?}"
    );
    assert!(done.err.contains("an offered one may be in use"), "{done:?}");
    let asked = server.asked();
    assert!(
        asked
            .iter()
            .any(|asked| asked.contains("kind=local_password&subject=ana")),
        "{asked:?}"
    );
    assert_eq!(
        asked.iter().filter(|asked| asked.contains("/reveal")).count(),
        2,
        "what was in use is not read"
    );

    let done = escrow().fleet(&["escrow", "reveal", "web", "--volume", "nobody"]);
    assert_eq!(done.code, 3, "{done:?}");
    let done = escrow().fleet(&["escrow", "reveal", "--id", "019aa5b2-0000-7000-8000-000000000002"]);
    assert!(
        done.out.contains("secret of current") && done.err.is_empty(),
        "{done:?}"
    );
    for wrong in [
        &["web"][..],
        &["--user", "ana"],
        &["web", "--id", "019aa5b2-0000-7000-8000-000000000002"],
        &["web", "--user", "ana", "--volume", "x"],
    ] {
        let server = escrow();
        let done = server.fleet(&[&["escrow", "reveal"], wrong].concat());
        assert_eq!((done.code, server.asked().len()), (2, 0), "{done:?}");
    }
}

#[test]
fn a_token_for_a_passphrase_is_printed_as_what_is_to_be_typed() {
    let server = || {
        Fake::start(|seen, _| match (seen.method.as_str(), &*seen.target) {
            ("GET", target) if target.starts_with("/api/v1/devices?") => page(value!([device(WEB, "web")]), None),
            ("GET", _) => json(
                200,
                value!({"device": WEB, "disks": [{"disk": "6f1f0b1e", "key": "tpm2", "since": "2027-01-15T08:00:00Z"}]}),
            ),
            _ => json(
                201,
                value!({"device": WEB, "token": "5e7c", "command": "sudo it --token 5e7c", "expires_at": "2027-01-15T08:15:00Z"}),
            ),
        })
    };
    let fake = server();
    let done = fake.fleet(&["devices", "disk-passphrase-token", "web", "--expires", "5m"]);
    assert_eq!((done.code, &*done.out), (0, "sudo it --token 5e7c\n"), "{done:?}");
    assert!(done.err.contains("2027-01-15T08:15:00Z"), "{done:?}");
    let asked = fake.requests();
    let asked = asked.iter().find(|asked| asked.method == "POST").unwrap();
    assert_eq!(asked.json(), value!({"expires_in_seconds": 300}));
    let done = server().fleet(&["devices", "disk-passphrase-token", "web", "-o", "json"]);
    assert!(done.out.contains("\"token\": \"5e7c\""), "{done:?}");
    let done = server().fleet(&["devices", "disk-keys", "web"]);
    assert!(done.out.contains("6f1f0b1e") && done.out.contains("tpm2"), "{done:?}");
    let done = server().fleet(&["devices", "disk-keys", "web", "-o", "json"]);
    assert!(done.out.contains("\"key\": \"tpm2\""), "{done:?}");
}
