//! What is asked of the server when somebody wants work done.

use serde_json::{Value, json as value};

use super::two_devices;

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
