//! Reboots. The scratch root says which start of the device this is, and for how long it has been running.

use std::{fs, time::Duration};

use serde_json::json;
use tokio::sync::watch;

use super::{CHANGED, Done, Scratch};
use crate::runs::Cancellation;

const SCHEDULED: &str = "/run/systemd/shutdown/scheduled";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const UPTIME: &str = "/proc/uptime";
/// An announcement that is kept, and taken back.
const SHUTDOWN: &str = "case $1 in -c) rm $ROOT/run/systemd/shutdown/scheduled ;; *) echo \"$@\" >$ROOT/run/systemd/shutdown/scheduled ;; esac";
/// One during which the device loses its power, before it is kept or after.
const STUCK_BEFORE: &str = "touch $ROOT/run/stuck; sleep 600";
const STUCK_AFTER: &str = "echo \"$@\" >$ROOT/run/systemd/shutdown/scheduled; touch $ROOT/run/stuck; sleep 600";

const HAPPENED: &str = "Succeeded, changed";
const DID_NOT_HAPPEN: &str = "Failed reboot.did_not_happen, the same";

fn device() -> Scratch {
    Scratch::new()
        .with_fake("shutdown", SHUTDOWN)
        .with_folder("/run/systemd/shutdown")
        .with(BOOT_ID, "one\n")
        .with(UPTIME, "5000.21 9000.00\n")
}

impl Scratch {
    fn set(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    /// Begins to reboot, and is interrupted as soon as something is there.
    async fn begin_until(&self, there: &str) {
        let (_keep, requested) = watch::channel(false);
        let params = json!({"delay_minutes": 3});
        let seen = async {
            while !self.path(there).exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            done = self.carry("reboot", &params, 900, Cancellation::new(requested), false) => {
                panic!("it ended: {}\n{}", done.verdict(), done.output)
            }
            () = seen => {}
        }
    }

    /// What the next start of the agent finds.
    async fn take_up(&self) -> Done {
        self.take_up_of(&json!({"delay_minutes": 3})).await
    }

    async fn take_up_of(&self, params: &serde_json::Value) -> Done {
        let (_keep, requested) = watch::channel(false);
        self.carry("reboot", params, 900, Cancellation::new(requested), true)
            .await
    }
}

#[tokio::test]
async fn a_dry_run_announces_nothing() {
    let device = device();
    let dry = device.run("reboot", &json!({"dry_run": true})).await;
    assert!(dry.verdict() == CHANGED && device.read(SCHEDULED).is_none());
}

#[tokio::test]
async fn one_that_somebody_has_announced_can_be_taken_back() {
    let device = device().with(SCHEDULED, "-r +9\n");
    device.check("reboot", json!({"state": "absent"}), CHANGED).await;
    assert_eq!(device.read(SCHEDULED), None);
}

#[tokio::test]
async fn a_reboot_has_succeeded_when_the_device_has_started_anew() {
    let device = device();
    device.begin_until(SCHEDULED).await;
    assert_eq!(device.read(SCHEDULED).unwrap(), "-r +3\n");
    device.set(BOOT_ID, "two\n");
    device.set(UPTIME, "12.01 3.00\n");
    let done = device.take_up().await;
    assert_eq!(done.verdict(), HAPPENED);
    assert_eq!(done.steps(), ["have the device start anew in 3 minutes"]);
}

#[tokio::test]
async fn people_read_the_message() {
    let device = device();
    let (cancel, requested) = watch::channel(false);
    let params = json!({"delay_minutes": 3, "message": "back soon"});
    let announced = async {
        while device.read(SCHEDULED).as_deref() != Some("-r +3 back soon\n") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.send_replace(true);
    };
    let run = device.carry("reboot", &params, 900, Cancellation::new(requested), false);
    let (done, ()) = tokio::join!(run, announced);
    // Nobody waits for it any more.
    assert_eq!(done.verdict(), "Cancelled, unknown");
    assert_eq!(device.read(SCHEDULED), None);
}

#[tokio::test]
async fn one_for_which_no_time_is_left_is_taken_back() {
    let device = device();
    let done = device
        .run_within("reboot", &json!({"delay_minutes": 3}), 1, false)
        .await;
    assert_eq!(done.verdict(), "TimedOut, unknown");
    assert_eq!(device.read(SCHEDULED), None);
}

#[tokio::test]
async fn a_device_that_goes_on_past_its_time_has_not_started_anew() {
    let device = device();
    device.begin_until(SCHEDULED).await;
    // An agent that was only restarted waits on: three minutes, and ten more.
    device.set(UPTIME, "5779.99 1\n");
    let waits = tokio::time::timeout(Duration::from_millis(50), device.take_up()).await;
    assert!(waits.is_err());
    device.set(UPTIME, "5780.00 1\n");
    assert_eq!(device.take_up().await.verdict(), DID_NOT_HAPPEN);
}

#[tokio::test]
async fn what_was_interrupted_while_it_was_announced_is_known_by_the_next_start() {
    for stuck in [STUCK_BEFORE, STUCK_AFTER] {
        let device = device();
        device.replace_by_fake("shutdown", stuck);
        device.begin_until("/run/stuck").await;
        device.replace_by_fake("shutdown", "test \"$1\" = -c || touch $ROOT/run/announced-again");
        device.set(UPTIME, "5780.00 1\n");
        assert_eq!(device.take_up().await.verdict(), DID_NOT_HAPPEN);
        device.set(BOOT_ID, "two\n");
        assert_eq!(device.take_up().await.verdict(), HAPPENED);
        assert!(device.read("/run/announced-again").is_none());
    }
}

#[tokio::test]
async fn what_was_interrupted_before_anything_was_announced_says_so_and_announces_nothing() {
    let device = device();
    for start in ["one\n", "two\n"] {
        device.set(BOOT_ID, start);
        let done = device.take_up().await;
        assert_eq!(done.verdict(), "Failed reboot.not_announced, the same");
        assert_eq!(device.read(SCHEDULED), None);
    }
}

#[tokio::test]
async fn another_run_is_no_news_of_this_one() {
    let device = device();
    device.begin_until(SCHEDULED).await;
    let note = device.beside("state").join("actions/reboot.json");
    let of_another = |text: &str| {
        let mut note: serde_json::Value = serde_json::from_str(text).unwrap();
        note["body"]["run"] = json!(uuid::Uuid::nil());
        note.to_string()
    };
    fs::write(&note, of_another(&fs::read_to_string(&note).unwrap())).unwrap();
    device.set(BOOT_ID, "two\n");
    assert_eq!(
        device.take_up().await.verdict(),
        "Failed reboot.not_announced, the same"
    );
}

#[tokio::test]
async fn nothing_is_announced_whose_coming_could_not_be_told() {
    for (path, text) in [(BOOT_ID, ""), (UPTIME, "soon\n")] {
        let device = device().with(path, text);
        let done = device.run("reboot", &json!({})).await;
        assert_eq!(done.verdict(), "Failed action.files_failed, the same");
        assert_eq!(device.read(SCHEDULED), None);
    }
    // Where nothing can be remembered either.
    let device = device();
    fs::write(device.beside("state").join("actions"), "").unwrap();
    let done = device.run("reboot", &json!({})).await;
    assert_eq!(done.verdict(), "Failed action.files_failed, the same");
    assert_eq!(device.read(SCHEDULED), None);
}

#[tokio::test]
async fn an_announcement_that_fails_is_no_reboot() {
    let device = device();
    device.replace_by_fake("shutdown", "exit 1");
    let done = device.run("reboot", &json!({})).await;
    assert_eq!(done.verdict(), "Failed action.program_failed, the same");
}

#[tokio::test]
async fn an_announcement_that_fails_leaves_what_somebody_else_announced() {
    let theirs = "USEC=1800000000000000\nMODE=poweroff\n";
    let device = device().with(SCHEDULED, theirs);
    device.replace_by_fake("shutdown", &format!("test \"$1\" = -c || exit 1; {SHUTDOWN}"));
    let done = device.run("reboot", &json!({})).await;
    assert_eq!(done.verdict(), "Failed action.program_failed, the same");
    assert_eq!(device.read(SCHEDULED).as_deref(), Some(theirs));
}

#[tokio::test]
async fn an_announcement_that_is_kept_and_fails_all_the_same_is_taken_back() {
    let device = device();
    device.replace_by_fake("shutdown", &format!("{{ {SHUTDOWN}; }}; test \"$1\" = -c"));
    let done = device.run("reboot", &json!({})).await;
    assert_eq!(done.verdict(), "Failed action.program_failed, the same");
    assert_eq!(device.read(SCHEDULED), None);
    assert!(done.output.contains("the reboot was taken back"), "{}", done.output);
}

#[tokio::test]
async fn one_that_was_interrupted_while_it_took_a_shutdown_back_does_not_say_whether_it_did() {
    for scheduled in [true, false] {
        let device = device();
        if scheduled {
            device.set(SCHEDULED, "-r +9\n");
        }
        let done = device.take_up_of(&json!({"state": "absent"})).await;
        assert_eq!(done.verdict(), "Indeterminate, unknown");
        assert_eq!(device.read(SCHEDULED).is_some(), scheduled);
    }
}

#[tokio::test]
async fn what_somebody_else_has_announced_since_is_not_taken_back() {
    let theirs = "USEC=1800000000000000\nMODE=poweroff\n";
    let device = device();
    let (cancel, requested) = watch::channel(false);
    let replaced = async {
        let note = device.beside("state").join("actions/reboot.json");
        while !fs::read_to_string(&note).is_ok_and(|note| note.contains("-r +3")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        device.set(SCHEDULED, theirs);
        cancel.send_replace(true);
    };
    let params = json!({"delay_minutes": 3});
    let run = device.carry("reboot", &params, 900, Cancellation::new(requested), false);
    let (done, ()) = tokio::join!(run, replaced);
    assert_eq!(done.verdict(), "Cancelled, unknown");
    assert_eq!(device.read(SCHEDULED).as_deref(), Some(theirs));
    // Nor by the agent that comes after one that died.
    device.set(UPTIME, "9000.00 1\n");
    assert_eq!(device.take_up().await.verdict(), DID_NOT_HAPPEN);
    assert_eq!(device.read(SCHEDULED).as_deref(), Some(theirs));
}
