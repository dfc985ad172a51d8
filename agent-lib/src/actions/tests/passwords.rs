//! Passwords that are changed, with the machine's own chpasswd in a root of its own; and whatever interrupts that.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use fleet_core::{
    escrow::{EscrowKind, EscrowState},
    kernel::Clock as _,
};
use serde_json::{Value, json};

use super::{
    super::passwords::record,
    CHANGED, SAME, Scratch, absent,
    escrow::{Asked, Failure},
    is_root, tool,
};
use crate::escrow::Escrow as _;

const DAY: Duration = Duration::from_secs(86_400);
const KIND: &str = "password.rotation";
const PASSED_OVER: &str = "SucceededWithIssues, changed";

/// None where the tests may not change roots.
fn device() -> Option<Scratch> {
    is_root().then(|| Scratch::new().with_tools(&["chpasswd"]))
}

fn ana() -> Value {
    json!({"users": ["ana"]})
}

pub(super) fn hash(device: &Scratch, user: &str) -> String {
    let shadow = device.read("/etc/shadow").unwrap();
    let line = shadow.lines().find(|line| line.starts_with(&format!("{user}:")));
    line.unwrap().split(':').nth(1).unwrap().to_owned()
}

/// Whether a password is that of a hash, as crypt(3) has it.
pub(super) fn fits(password: &str, hash: &str) -> bool {
    let Some(salt) = hash.split('$').nth(3) else {
        return false;
    };
    let mut openssl = Command::new("openssl")
        .args(["passwd", "-6", "-stdin", "-salt", &format!("rounds=500000${salt}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    let answer = openssl.wait_with_output().unwrap();
    String::from_utf8(answer.stdout).unwrap().trim() == hash
}

impl Scratch {
    fn later(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// How many of the passwords of ana's that the server shows are the one on the device, by their states.
    async fn shown(&self) -> Vec<EscrowState> {
        let hash = hash(self, "ana");
        let held = self.server.current(EscrowKind::LocalPassword, "ana").await.unwrap();
        let fitting = held.iter().filter(|held| fits(held.secret.reveal(), &hash));
        fitting.map(|held| held.state).collect()
    }

    /// All that is remembered, as text.
    fn notes(&self) -> String {
        std::fs::read_to_string(self.beside("state").join("actions/password.rotation.json")).unwrap_or_default()
    }
}

#[tokio::test]
async fn a_password_is_made_kept_set_and_told_nowhere_else() {
    let Some(device) = device() else { return };
    let done = device.check(KIND, ana(), CHANGED).await;
    assert_eq!(device.server.lines(), ["ana current initial"]);
    assert_eq!(device.shown().await, [EscrowState::Current]);
    let (deposit, _) = &device.server.all()[0];
    let password = deposit.secret.reveal();
    assert_eq!(password.len(), 20);
    assert!(
        done.output.contains("change the password of ana (the first time)"),
        "{}",
        done.output
    );
    for told in [&done.output, &device.notes(), &format!("{:?}", done.ending)] {
        assert!(!told.contains(password), "{told}");
    }
}

#[tokio::test]
async fn a_password_is_changed_when_it_is_old() {
    let Some(device) = device() else { return };
    let params = json!({"users": ["ana"], "interval_days": 10, "length": 64, "complexity": "complex"});
    device.check(KIND, params.clone(), CHANGED).await;
    device.later(DAY * 9);
    device.check(KIND, params.clone(), SAME).await;
    device.later(DAY);
    device.check(KIND, params, CHANGED).await;
    assert_eq!(
        device.server.lines(),
        ["ana superseded initial", "ana current scheduled"]
    );
    assert_eq!(device.shown().await, [EscrowState::Current]);
    assert_eq!(device.server.all()[1].0.secret.reveal().len(), 64);
}

#[tokio::test]
async fn a_password_is_changed_some_hours_after_somebody_signed_in_with_it() {
    let Some(device) = device() else { return };
    let device = device.with("/var/log/wtmp", "");
    let params = json!({"users": ["ana"], "after_use_hours": 8});
    device.check(KIND, params.clone(), CHANGED).await;
    device.later(Duration::from_secs(3_600));
    let signed_in = u32::try_from(device.clock.now().as_seconds()).unwrap();
    std::fs::write(device.path("/var/log/wtmp"), record("ana", 7, signed_in)).unwrap();
    device.later(Duration::from_secs(8 * 3_600 - 1));
    device.check(KIND, params.clone(), SAME).await;
    device.later(Duration::from_secs(1));
    device.check(KIND, params, CHANGED).await;
    assert_eq!(device.server.lines()[1], "ana current afteruse");
}

#[tokio::test]
async fn who_is_missing_or_disabled_is_passed_over_and_named() {
    let Some(device) = device() else { return };
    let device = device.with(
        "/etc/shadow",
        "root:*:19000:0:99999:7:::\nana:!:19000:0:99999:7:::\nbob:!$6$x$y:19000:0:99999:7::1:\n",
    );
    let passwd = device.read("/etc/passwd").unwrap() + "bob:x:1501:1501::/home/bob:/bin/sh\n";
    let device = device.with("/etc/passwd", &passwd);
    let done = device.run(KIND, &json!({"users": ["zoe", "ana", "bob"]})).await;
    assert_eq!(done.verdict(), PASSED_OVER, "{}", done.output);
    let message = done.ending.message.unwrap();
    assert!(
        message.contains("zoe is passed over: this device has no such user"),
        "{message}"
    );
    assert!(message.contains("bob is passed over: it is disabled"), "{message}");
    assert_eq!(hash(&device, "bob"), "!$6$x$y");
    assert_eq!(device.server.lines(), ["ana current initial"]);
    device
        .check(KIND, json!({"users": ["zoe"]}), "NotApplicable, the same")
        .await;
}

#[tokio::test]
async fn the_failure_of_one_is_not_that_of_the_next() {
    let Some(device) = device() else { return };
    let real = tool("chpasswd").unwrap();
    let refuses_root = format!(
        r#"read line; case "$line" in root:*) echo "no" >&2; exit 3;; esac; printf '%s\n' "$line" | {} "$@""#,
        real.display()
    );
    let device = device.with_fake("chpasswd", &refuses_root);
    let done = device.run(KIND, &json!({"users": ["root", "ana"]})).await;
    assert_eq!(done.verdict(), "Failed password.not_rotated, changed");
    let message = done.ending.message.unwrap();
    assert!(
        message.starts_with("root: chpasswd") && !message.contains("ana"),
        "{message}"
    );
    assert_eq!(device.server.lines(), ["root abandoned initial", "ana current initial"]);
    assert_eq!(device.shown().await, [EscrowState::Current]);
}

#[tokio::test]
async fn nothing_is_changed_while_the_server_is_away() {
    let Some(device) = device() else { return };
    let before = device.tree();
    device.server.fail(Some((Asked::Deposit, Failure::Away)));
    for _ in 0..3 {
        let done = device.run(KIND, &json!({"users": ["ana", "root"]})).await;
        assert_eq!(done.verdict(), "Failed escrow.unreachable, the same");
        let message = done.ending.message.unwrap();
        assert!(message.starts_with("held: server not reachable"), "{message}");
    }
    assert_eq!(device.tree(), before);
    device.server.fail(None);
    device.check(KIND, ana(), CHANGED).await;
}

#[tokio::test]
async fn absent_forgets_and_leaves_the_password() {
    let Some(device) = device() else { return };
    device.check(KIND, ana(), CHANGED).await;
    let before = hash(&device, "ana");
    device.check(KIND, absent(&ana()), CHANGED).await;
    assert_eq!(hash(&device, "ana"), before);
    assert_eq!(device.shown().await, [EscrowState::Current]);
    device.check(KIND, ana(), CHANGED).await;
    assert_eq!(device.server.lines()[1], "ana current initial");
}

/// What goes wrong in the second rotation.
enum Mishap {
    Server(Asked, Failure),
    /// `chpasswd` is this script; `$REAL` is the real one, with its arguments.
    Chpasswd(&'static str),
    /// What is remembered cannot be written.
    Disk,
}

/// One password is in use and known. What happens to the next one leaves the device with a password that the server shows, and the pass
/// after that brings order.
async fn check_mishap(mishap: Mishap, expected: &[&str], afterwards: &[&str]) {
    let Some(device) = device() else { return };
    device.check(KIND, ana(), CHANGED).await;
    device.later(DAY * 30);
    let notes = device.beside("state").join("actions");
    match &mishap {
        Mishap::Server(asked, failure) => device.server.fail(Some((*asked, *failure))),
        Mishap::Chpasswd(script) => {
            let real = format!("{} \"$@\"", tool("chpasswd").unwrap().display());
            device.replace_by_fake("chpasswd", &script.replace("$REAL", &real));
        }
        // Also for root a folder cannot be replaced by a file.
        Mishap::Disk => std::fs::create_dir(notes.join("password.rotation.new")).unwrap(),
    }
    let params = ana();
    tokio::select! {
        _ = device.run_within(KIND, &params, 3, false) => {}
        () = device.server.hangs() => {}
    }
    assert!(!device.shown().await.is_empty(), "the password in use is not shown");
    assert_eq!(device.server.lines(), expected);

    device.server.fail(None);
    device.replace_by_link("chpasswd");
    let _ = std::fs::remove_dir(notes.join("password.rotation.new"));
    device.run(KIND, &params).await;
    assert_eq!(device.shown().await, [EscrowState::Current]);
    assert_eq!(device.server.lines(), afterwards);
    device.check(KIND, params, SAME).await;
}

const KNOWN: &str = "ana current initial";
const FORMER: &str = "ana superseded initial";
const DOUBTFUL: &str = "ana offered scheduled";
const NEXT: &str = "ana current scheduled";

#[tokio::test]
async fn a_deposit_that_is_not_acknowledged_changes_nothing() {
    check_mishap(Mishap::Server(Asked::Deposit, Failure::Away), &[KNOWN], &[FORMER, NEXT]).await;
    for failure in [Failure::AnswerLost, Failure::HangsAfter] {
        let afterwards = [FORMER, DOUBTFUL, NEXT];
        check_mishap(Mishap::Server(Asked::Deposit, failure), &[KNOWN, DOUBTFUL], &afterwards).await;
    }
    check_mishap(
        Mishap::Server(Asked::Deposit, Failure::Hangs),
        &[KNOWN],
        &[FORMER, NEXT],
    )
    .await;
}

#[tokio::test]
async fn an_intent_that_is_not_on_disk_changes_nothing() {
    check_mishap(Mishap::Disk, &[KNOWN, DOUBTFUL], &[FORMER, DOUBTFUL, NEXT]).await;
}

#[tokio::test]
async fn what_chpasswd_did_not_do_is_abandoned() {
    let abandoned = "ana abandoned scheduled";
    for script in ["exit 1", "exit 0"] {
        check_mishap(
            Mishap::Chpasswd(script),
            &[KNOWN, abandoned],
            &[FORMER, abandoned, NEXT],
        )
        .await;
    }
}

#[tokio::test]
async fn what_chpasswd_may_have_done_is_kept_until_another_one_is_certain() {
    let was = "ana superseded scheduled";
    for script in ["$REAL; exit 1", "$REAL; sleep 60", "sleep 60", "$REAL; kill -9 $$"] {
        check_mishap(Mishap::Chpasswd(script), &[KNOWN, DOUBTFUL], &[FORMER, was, NEXT]).await;
    }
}

#[tokio::test]
async fn a_conclusion_that_was_not_heard_is_repeated() {
    for failure in [Failure::Away, Failure::Hangs] {
        check_mishap(
            Mishap::Server(Asked::Conclude, failure),
            &[KNOWN, DOUBTFUL],
            &[FORMER, NEXT],
        )
        .await;
    }
    for failure in [Failure::AnswerLost, Failure::HangsAfter] {
        check_mishap(
            Mishap::Server(Asked::Conclude, failure),
            &[FORMER, NEXT],
            &[FORMER, NEXT],
        )
        .await;
    }
}

#[tokio::test]
async fn a_device_of_another_server_begins_anew() {
    let Some(device) = device() else { return };
    device.check(KIND, ana(), CHANGED).await;
    *device.key.lock().unwrap() = 2;
    device.check(KIND, ana(), CHANGED).await;
    assert_eq!(device.server.lines()[1], "ana current initial");
}
