//! Scripts with a check.

use serde_json::json;

use super::{CHANGED, SAME, Scratch};

/// A script that makes a file, and one that checks that it is there.
fn params(device: &Scratch) -> serde_json::Value {
    let file = device.path("/etc/done");
    json!({"script": format!("touch {}", file.display()), "check_script": format!("test -e {}", file.display())})
}

#[tokio::test]
async fn a_script_runs_only_where_its_check_says_so() {
    let device = Scratch::new();
    device.check("shell", params(&device), CHANGED).await;
    assert_eq!(device.read("/etc/done").as_deref(), Some(""));
}

#[tokio::test]
async fn a_check_that_may_do_nothing_does_nothing() {
    let device = Scratch::new();
    let mut only = params(&device);
    only["check_only"] = json!(true);
    let refused = "Failed shell.not_compliant, the same";
    let done = device.check("shell", only.clone(), refused).await;
    assert_eq!(done.ending.exit_code, Some(1));
    let without = json!({"check_script": "exit 7"});
    assert_eq!(device.check("shell", without, refused).await.ending.exit_code, Some(7));
    let device = device.with("/etc/done", "");
    device.check("shell", only, SAME).await;
}

#[tokio::test]
async fn a_script_that_did_not_help_has_failed() {
    let device = Scratch::new();
    let vain = json!({"script": "true", "check_script": "exit 3"});
    let done = device.check("shell", vain, "Failed action.not_reached, unknown").await;
    assert_eq!(done.ending.exit_code, Some(3));
    let broken = json!({"script": "exit 4", "check_script": "exit 3"});
    assert_eq!(device.run("shell", &broken).await.verdict(), "Failed, unknown");
}

#[tokio::test]
async fn a_check_that_cannot_run_is_never_compliance() {
    let device = Scratch::new();
    let lost = json!({"check_script": "true", "check_only": true, "interpreter": "/nowhere/sh"});
    assert_eq!(
        device.run("shell", &lost).await.verdict(),
        "Failed executor.program_not_found, unknown"
    );
    let slow = json!({"check_script": "sleep 600", "script": "true"});
    assert_eq!(
        device.run_within("shell", &slow, 1, false).await.verdict(),
        "TimedOut, unknown"
    );
}

#[tokio::test]
async fn nobody_knows_what_a_plain_script_changes() {
    let device = Scratch::new();
    assert_eq!(
        device.run("shell", &json!({"script": "true"})).await.verdict(),
        "Succeeded, unknown"
    );
    let dry = json!({"script": "touch /nowhere/at/all", "dry_run": true});
    assert_eq!(device.run("shell", &dry).await.verdict(), "Succeeded, unknown");
}
