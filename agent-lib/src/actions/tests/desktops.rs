//! Scripts for each user who is signed in to a desktop, run as those users; a script stands for `loginctl`.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
};

use serde_json::{Value, json};

use super::{CHANGED, SAME, Scratch, is_root};

const ANA: (&str, u32) = ("ana", 1500);
const BOB: (&str, u32) = ("bob", 1501);
const FAILED_UNKNOWN: &str = "Failed, unknown";

/// A device with two users; none where the tests may not act as others.
fn device() -> Option<Scratch> {
    if !is_root() {
        return None;
    }
    let passwd =
        "root:x:0:0:root:/root:/bin/sh\nana:x:1500:1500:Ana:/home/ana:/bin/sh\nbob:x:1501:1501:Bob:/home/bob:/bin/sh\n";
    let device = Scratch::new().with("/etc/passwd", passwd).with_folder("/run/user/1500");
    // They have to get to their homes.
    fs::set_permissions(device.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, number) in [ANA, BOB] {
        let home = device.path(&format!("/home/{name}"));
        fs::create_dir_all(&home).unwrap();
        chown(home, Some(number), Some(number)).unwrap();
    }
    device.sign_in(&[ANA, BOB]);
    Some(device)
}

fn script(text: &str) -> Value {
    json!({"script": text, "scope": "users"})
}

fn with_check() -> Value {
    json!({"script": "touch done", "check_script": "test -e done", "scope": "users"})
}

#[tokio::test]
async fn a_script_runs_once_as_each_user_in_their_own_home() {
    let Some(device) = device() else { return };
    let text = "echo $(id -u) $USER $HOME; pwd; echo $XDG_RUNTIME_DIR >&2";
    let done = device.run("shell", &script(text)).await;
    assert_eq!(done.verdict(), "Succeeded, unknown", "{}", done.output);
    let root = device.root();
    let root = root.display();
    let mut lines: Vec<_> = done.output.lines().collect();
    lines.sort_unstable();
    let mut expected = [
        format!("ana: {root}/home/ana"),
        format!("ana: {root}/run/user/1500"),
        format!("ana: 1500 ana {root}/home/ana"),
        format!("bob: {root}/home/bob"),
        // Nothing of that kind is there.
        "bob: ".to_owned(),
        format!("bob: 1501 bob {root}/home/bob"),
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_user_with_several_sessions_has_one_turn() {
    let Some(device) = device() else { return };
    device.sign_in(&[ANA, ANA]);
    let done = device.run("shell", &script("printf x")).await;
    assert_eq!(done.output, "ana: x\n");
}

#[tokio::test]
async fn where_nobody_is_signed_in_nothing_is_run() {
    let Some(device) = device() else { return };
    device.sign_in(&[]);
    let done = device.run("shell", &script("exit 1")).await;
    assert_eq!(done.verdict(), SAME);
    let skipped = "skipped: nobody is signed in to a desktop";
    assert_eq!(done.ending.message.as_deref(), Some(skipped));
    fs::remove_file(device.path("/usr/bin/loginctl")).unwrap();
    let done = device.run("shell", &script("exit 1")).await;
    assert_eq!(done.verdict(), "NotApplicable, the same");
}

#[tokio::test]
async fn the_first_failure_counts_and_the_next_user_has_their_turn() {
    let Some(device) = device() else { return };
    let text = "touch here; [ $USER = bob ] || exit 7";
    let done = device.run("shell", &script(text)).await;
    assert_eq!(
        (done.verdict().as_str(), done.ending.exit_code),
        (FAILED_UNKNOWN, Some(7))
    );
    assert_eq!(done.ending.message.as_deref(), Some("ana: the script exited with 7"));
    assert!(device.path("/home/bob/here").exists());
}

#[tokio::test]
async fn a_check_decides_for_each_user() {
    let Some(device) = device() else { return };
    fs::write(device.path("/home/ana/done"), "").unwrap();
    device.check("shell", with_check(), CHANGED).await;
    assert!(device.path("/home/bob/done").exists());
    let mut only = with_check();
    only["check_only"] = json!(true);
    device.check("shell", only.clone(), SAME).await;
    fs::remove_file(device.path("/home/bob/done")).unwrap();
    let done = device.run("shell", &only).await;
    assert_eq!(done.verdict(), "Failed shell.not_compliant, the same");
    assert!(done.ending.message.unwrap().starts_with("bob: the check script says"));
}

#[tokio::test]
async fn whoever_the_policy_keeps_is_passed_over() {
    let Some(mut device) = device() else { return };
    device.policy = r#"forbid_users = ["ana", "root"]"#.to_owned();
    let done = device.run("shell", &script("echo hello")).await;
    assert_eq!(done.verdict(), "SucceededWithIssues, unknown");
    assert!(done.output.contains("bob: hello\n") && !done.output.contains("ana: "));
    let passed_over = "ana is passed over: by forbid_users of its policy this device runs nothing as ana";
    assert_eq!(done.ending.message.as_deref(), Some(passed_over));
}

#[tokio::test]
async fn what_is_stopped_begins_for_nobody_else() {
    let Some(device) = device() else { return };
    let done = device
        .run_within("shell", &script("touch here; sleep 600"), 1, false)
        .await;
    assert_eq!(done.verdict(), "TimedOut, unknown");
    assert!(device.path("/home/ana/here").exists() && !device.path("/home/bob/here").exists());
}

#[tokio::test]
async fn all_users_share_what_is_kept_of_the_output() {
    let Some(device) = device() else { return };
    let done = device
        .run("shell", &script("head -c 700000 /dev/zero | tr '\\0' x"))
        .await;
    let cut = usize::try_from(done.ending.truncated_bytes).unwrap();
    assert!(done.output.len() <= 1 << 20, "{}", done.output.len());
    assert!(done.output.len() + cut >= 2 * 700_000, "{cut}");
}
