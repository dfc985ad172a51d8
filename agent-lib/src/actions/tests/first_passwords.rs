//! First passwords of users that are made, with the machine's own shadow tools in a root of their own; and whatever interrupts that.

use fleet_core::escrow::{EscrowKind, EscrowState};
use serde_json::{Value, json};

use super::{
    CHANGED, SAME, Scratch, absent,
    escrow::{Asked, Failure},
    is_root,
    passwords::{fits, hash},
    tool,
};
use crate::escrow::Escrow as _;

const TOOLS: [&str; 4] = ["useradd", "userdel", "chpasswd", "chage"];
const CURRENT: &str = "deploy current usercreated";
const WAS: &str = "deploy superseded usercreated";
const DOUBTFUL: &str = "deploy offered usercreated";
const ABANDONED: &str = "deploy abandoned usercreated";

/// None where the tests may not change roots.
fn device() -> Option<Scratch> {
    is_root().then(|| Scratch::new().with_tools(&TOOLS))
}

fn deploy() -> Value {
    json!({"name": "deploy", "generate_password": true})
}

impl Scratch {
    /// How many of the passwords of the new user that the server shows are the one on the device, by their states; nothing while the
    /// device has no such user, or it has no password.
    async fn shown_of_deploy(&self) -> Option<Vec<EscrowState>> {
        let shadow = self.read("/etc/shadow").unwrap();
        if !shadow.contains("deploy:$") {
            return None;
        }
        let hash = hash(self, "deploy");
        let held = self.server.current(EscrowKind::LocalPassword, "deploy").await.unwrap();
        let fitting = held.iter().filter(|held| fits(held.secret.reveal(), &hash));
        Some(fitting.map(|held| held.state).collect())
    }

    fn has_deploy(&self) -> bool {
        self.read("/etc/passwd").unwrap().contains("deploy:")
    }
}

#[tokio::test]
async fn a_user_that_is_made_has_a_password_that_the_server_keeps_and_nobody_else() {
    let Some(device) = device() else { return };
    let done = device.check("user", deploy(), CHANGED).await;
    assert_eq!(device.server.lines(), [CURRENT]);
    assert_eq!(device.shown_of_deploy().await, Some(vec![EscrowState::Current]));
    let password = device.server.all()[0].0.secret.clone();
    assert_eq!(password.reveal().len(), 16);
    let notes = std::fs::read_to_string(device.beside("state").join("actions/password.rotation.json")).unwrap();
    for told in [&done.output, &notes, &format!("{:?}", done.ending)] {
        assert!(!told.contains(password.reveal()), "{told}");
    }
}

#[tokio::test]
async fn it_may_have_to_be_changed_at_once() {
    let Some(device) = device() else { return };
    let mut params = deploy();
    params["force_password_change"] = json!(true);
    device.check("user", params, CHANGED).await;
    let shadow = device.read("/etc/shadow").unwrap();
    let line = shadow.lines().find(|line| line.starts_with("deploy:")).unwrap();
    assert_eq!(line.split(':').nth(2), Some("0"), "{line}");
    assert_eq!(device.shown_of_deploy().await, Some(vec![EscrowState::Current]));
}

#[tokio::test]
async fn a_user_that_was_there_gets_none() {
    let Some(device) = device() else { return };
    device
        .check("user", json!({"name": "ana", "generate_password": true}), SAME)
        .await;
    assert!(device.server.lines().is_empty());
}

#[tokio::test]
async fn a_user_that_is_made_again_gets_another_one() {
    let Some(device) = device() else { return };
    device.check("user", deploy(), CHANGED).await;
    device.check("user", absent(&json!({"name": "deploy"})), CHANGED).await;
    device.check("user", deploy(), CHANGED).await;
    assert_eq!(device.server.lines(), [WAS, CURRENT]);
    assert_eq!(device.shown_of_deploy().await, Some(vec![EscrowState::Current]));
}

#[tokio::test]
async fn a_rotation_knows_how_old_it_is() {
    let Some(device) = device() else { return };
    device.check("user", deploy(), CHANGED).await;
    let rotation = json!({"users": ["deploy"], "interval_days": 10});
    device.check("password.rotation", rotation.clone(), SAME).await;
    device.clock.advance(std::time::Duration::from_secs(10 * 86_400));
    device.check("password.rotation", rotation, CHANGED).await;
    assert_eq!(device.server.lines(), [WAS, "deploy current scheduled"]);
}

/// What goes wrong.
enum Mishap {
    Server(Asked, Failure),
    /// A tool is this script; `$REAL` is the real one, with its arguments.
    Tool(&'static str, &'static str),
    /// What is remembered cannot be written.
    Disk,
}

/// What happens while a user is made leaves no user with a password that the server does not show, and the next pass brings order.
async fn check_mishap(mishap: Mishap, is_made: bool, expected: &[&str], afterwards: &[&str]) {
    let Some(device) = device() else { return };
    let notes = device.beside("state").join("actions");
    let before = device.tree();
    match &mishap {
        Mishap::Server(asked, failure) => device.server.fail(Some((*asked, *failure))),
        Mishap::Tool(name, script) => {
            let real = format!("{} \"$@\"", tool(name).unwrap().display());
            device.replace_by_fake(name, &script.replace("$REAL", &real));
        }
        Mishap::Disk => std::fs::create_dir_all(notes.join("password.rotation.new")).unwrap(),
    }
    let mut params = deploy();
    params["force_password_change"] = json!(true);
    tokio::select! {
        _ = device.run_within("user", &params, 3, false) => {}
        () = device.server.hangs() => {}
    }
    assert_eq!(device.has_deploy(), is_made);
    assert_ne!(
        device.shown_of_deploy().await,
        Some(vec![]),
        "the password in use is not shown"
    );
    assert_eq!(device.server.lines(), expected);

    device.server.fail(None);
    if let Mishap::Tool(name, _) = &mishap {
        device.replace_by_link(name);
    }
    if !is_made && !matches!(mishap, Mishap::Tool(..)) {
        assert_eq!(device.tree(), before);
    }
    let _ = std::fs::remove_dir(notes.join("password.rotation.new"));
    device.run("user", &params).await;
    assert_eq!(device.shown_of_deploy().await, Some(vec![EscrowState::Current]));
    assert_eq!(device.server.lines(), afterwards);
    device.check("user", params, SAME).await;
}

#[tokio::test]
async fn no_user_is_made_before_the_server_has_the_password() {
    for failure in [Failure::Away, Failure::Hangs] {
        check_mishap(Mishap::Server(Asked::Deposit, failure), false, &[], &[CURRENT]).await;
    }
    for failure in [Failure::AnswerLost, Failure::HangsAfter] {
        let afterwards = [DOUBTFUL, CURRENT];
        check_mishap(Mishap::Server(Asked::Deposit, failure), false, &[DOUBTFUL], &afterwards).await;
    }
    check_mishap(Mishap::Disk, false, &[DOUBTFUL], &[DOUBTFUL, CURRENT]).await;
}

#[tokio::test]
async fn the_password_of_a_user_that_is_not_made_is_abandoned() {
    check_mishap(
        Mishap::Tool("useradd", "exit 1"),
        false,
        &[ABANDONED],
        &[ABANDONED, CURRENT],
    )
    .await;
}

#[tokio::test]
async fn a_user_that_was_interrupted_while_it_was_made_gets_its_password_at_the_next_pass() {
    for (script, is_made) in [("sleep 60", false), ("$REAL; sleep 60", true), ("$REAL; exit 1", true)] {
        check_mishap(Mishap::Tool("useradd", script), is_made, &[DOUBTFUL], &[WAS, CURRENT]).await;
    }
}

#[tokio::test]
async fn a_password_that_was_certainly_not_set_is_abandoned_and_another_one_made() {
    check_mishap(
        Mishap::Tool("chpasswd", "exit 1"),
        true,
        &[ABANDONED],
        &[ABANDONED, CURRENT],
    )
    .await;
}

#[tokio::test]
async fn a_password_that_may_have_been_set_is_shown_until_another_one_is_certain() {
    for script in ["$REAL; exit 1", "$REAL; sleep 60", "sleep 60"] {
        check_mishap(Mishap::Tool("chpasswd", script), true, &[DOUBTFUL], &[WAS, CURRENT]).await;
    }
    // It is set, and would not have to be changed.
    for script in ["exit 1", "sleep 60"] {
        check_mishap(Mishap::Tool("chage", script), true, &[DOUBTFUL], &[WAS, CURRENT]).await;
    }
}

#[tokio::test]
async fn what_was_not_heard_is_repeated() {
    for failure in [Failure::Away, Failure::Hangs] {
        check_mishap(Mishap::Server(Asked::Conclude, failure), true, &[DOUBTFUL], &[CURRENT]).await;
    }
    for failure in [Failure::AnswerLost, Failure::HangsAfter] {
        check_mishap(Mishap::Server(Asked::Conclude, failure), true, &[CURRENT], &[CURRENT]).await;
    }
}

#[tokio::test]
async fn what_somebody_else_has_given_a_user_meanwhile_stays() {
    let Some(device) = device() else { return };
    let useradd = tool("useradd").unwrap();
    device.replace_by_fake("useradd", &format!("{} \"$@\"; sleep 60", useradd.display()));
    assert_eq!(
        device.run_within("user", &deploy(), 2, false).await.verdict(),
        "TimedOut, unknown"
    );
    device.replace_by_link("useradd");
    let given = json!({"name": "deploy", "password": "given by hand"});
    device.check("user", given, CHANGED).await;
    let before = hash(&device, "deploy");
    device.check("user", deploy(), SAME).await;
    assert_eq!(hash(&device, "deploy"), before);
}
