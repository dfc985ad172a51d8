//! Switching off.

use serde_json::json;

use super::{CHANGED, SAME, Scratch};

const SCHEDULED: &str = "/run/systemd/shutdown/scheduled";
const SHUTDOWN: &str = "case $1 in -c) rm $ROOT/run/systemd/shutdown/scheduled ;; *) echo \"$@\" >$ROOT/run/systemd/shutdown/scheduled ;; esac";

fn device() -> Scratch {
    Scratch::new()
        .with_fake("shutdown", SHUTDOWN)
        .with_folder("/run/systemd/shutdown")
}

#[tokio::test]
async fn it_has_succeeded_when_people_were_told() {
    let device = device();
    let done = device
        .run(
            "shutdown",
            &json!({"delay_minutes": 3, "message": "the power is worked on"}),
        )
        .await;
    assert_eq!(done.verdict(), CHANGED);
    assert_eq!(done.steps(), ["have the device switch itself off in 3 minutes"]);
    assert_eq!(device.read(SCHEDULED).unwrap(), "-P +3 the power is worked on\n");
}

#[tokio::test]
async fn a_dry_run_announces_nothing() {
    let device = device();
    let dry = device.run("shutdown", &json!({"dry_run": true})).await;
    assert_eq!(dry.verdict(), CHANGED);
    assert_eq!(device.read(SCHEDULED), None);
}

#[tokio::test]
async fn what_is_announced_is_taken_back_and_nothing_else() {
    let device = device().with(SCHEDULED, "-P +9\n");
    device.check("shutdown", json!({"state": "absent"}), CHANGED).await;
    assert_eq!(device.read(SCHEDULED), None);
    device.check("shutdown", json!({"state": "absent"}), SAME).await;
}

#[tokio::test]
async fn the_newest_word_holds() {
    let device = device().with(SCHEDULED, "-r +900\n");
    assert_eq!(device.run("shutdown", &json!({})).await.verdict(), CHANGED);
    assert_eq!(device.read(SCHEDULED).unwrap(), "-P +5\n");
}

#[tokio::test]
async fn where_it_cannot_be_announced_nothing_has_changed() {
    let device = device();
    device.replace_by_fake("shutdown", "exit 1");
    let done = device.run("shutdown", &json!({})).await;
    assert_eq!(done.verdict(), "Failed action.program_failed, the same");
}
