//! What is told when something goes wrong.

use serde_json::json;

use super::Scratch;

/// A service manager that does what a test says. It knows one unit, whose state it keeps in files.
fn with_systemctl(script: &str) -> Scratch {
    Scratch::new().with_folder("/run/systemd/system").with_fake(
        "systemctl",
        &format!(
            r#"shift 2
case "$1" in
    is-enabled) echo "$(cat $ROOT/enabled 2>/dev/null || echo disabled)" ;;
    show) echo "ActiveState=$(cat $ROOT/active 2>/dev/null || echo inactive)" ;;
    *) {script} ;;
esac"#
        ),
    )
}

#[tokio::test]
async fn what_was_done_in_vain_has_failed() {
    // It says that it did, and did nothing.
    let device = with_systemctl("true");
    let params = json!({"unit": "a.service", "running": "started"});
    let done = device
        .check("service", params, "Failed action.not_reached, changed")
        .await;
    assert!(done.ending.message.unwrap().contains("start a.service"));
}

#[tokio::test]
async fn a_failure_that_changed_nothing_says_so() {
    let device = with_systemctl("echo Job failed >&2; exit 3");
    let params = json!({"unit": "a.service", "running": "started"});
    let done = device
        .check("service", params, "Failed action.program_failed, the same")
        .await;
    assert_eq!(done.ending.exit_code, Some(3));
    assert!(done.ending.message.unwrap().contains("Job failed"));
}

#[tokio::test]
async fn a_failure_halfway_says_that_something_changed() {
    let device = with_systemctl("case $1 in enable) echo enabled >$ROOT/enabled ;; *) exit 1 ;; esac");
    let params = json!({"unit": "a.service", "running": "started", "enabled": true});
    device
        .check("service", params, "Failed action.program_failed, changed")
        .await;
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_stopped() {
    let device = with_systemctl("sleep 600");
    let params = json!({"unit": "a.service", "running": "started"});
    let done = device.run_within("service", &params, 1, false).await;
    assert_eq!(done.verdict(), "TimedOut, unknown");
}

#[tokio::test]
async fn a_run_that_is_to_stop_does_nothing_more() {
    let device = Scratch::new();
    let before = device.tree();
    let params = json!({"path": "/etc/motd", "content": "x"});
    let done = device.run_within("file", &params, 60, true).await;
    assert_eq!(done.verdict(), "Cancelled, the same");
    assert_eq!(device.tree(), before);
}

#[tokio::test]
async fn parameters_that_the_server_should_not_have_sent_are_refused_here_too() {
    let device = Scratch::new();
    for params in [
        json!({"path": "/etc/shadow", "content": ""}),
        json!({"path": "/etc/motd", "surprise": 1}),
        json!([]),
    ] {
        let done = device.run("file", &params).await;
        assert_eq!(done.verdict(), "Failed operation.params_invalid, the same", "{params}");
    }
}

#[tokio::test]
async fn what_a_device_does_not_have_is_not_applicable() {
    let device = Scratch::new();
    for (kind, params) in [
        ("package", json!({"name": "nginx"})),
        ("service", json!({"unit": "nginx.service", "enabled": true})),
        ("user", json!({"name": "deploy"})),
        ("group", json!({"name": "deploy"})),
    ] {
        device.check(kind, params, "NotApplicable, the same").await;
    }
}
