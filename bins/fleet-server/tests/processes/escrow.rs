//! Passwords of a real account, changed by a real agent that is killed at some moment: what the server reveals is what lets its user in.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{desired::is_root, world::World};

/// Long enough for any machine; what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// An account of this machine, for as long as a test lasts.
struct Account(String);

impl Account {
    fn new() -> Self {
        let name = format!("fleetescrow{}", std::process::id());
        let made = Command::new("useradd").args(["--no-create-home", &name]).status();
        assert!(made.unwrap().success());
        Self(name)
    }

    /// What stands in shadow(5) for its password.
    fn hash(&self) -> String {
        let shadow = std::fs::read_to_string("/etc/shadow").unwrap();
        let mut entries = shadow.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let entry = entries.find(|entry| entry[0] == self.0);
        entry.unwrap()[1].to_owned()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let gone = Command::new("userdel").args(["--force", &self.0]).status();
        assert!(gone.unwrap().success());
    }
}

/// Whether a password is that of a hash, as crypt(3) has it.
fn fits(password: &str, hash: &str) -> bool {
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

impl World {
    /// The secrets that the server keeps of the device, the newest first.
    async fn kept(&self) -> Vec<Value> {
        let kept = self.get(&self.of_device("/escrowed-secrets")).await;
        kept["items"].as_array().unwrap().clone()
    }

    /// The states of the secrets that let the user in by what the server reveals, of those that are in use, or may be.
    async fn fitting(&self, account: &Account) -> Vec<String> {
        // First what is in use: a secret is here before it is.
        let hash = account.hash();
        let mut states = Vec::new();
        for secret in self.kept().await {
            let state = secret["state"].as_str().unwrap();
            if matches!(state, "current" | "offered") {
                let path = format!("/api/v1/escrowed-secrets/{}/reveal", secret["id"].as_str().unwrap());
                let revealed = self.ask_for(&path).await;
                if fits(revealed["secret"].as_str().unwrap(), &hash) {
                    states.push(state.to_owned());
                }
            }
        }
        states
    }

    async fn ended(&self, run: &str) {
        let run = self
            .until_within(PATIENCE, run, "ended", |run| !run["ending"].is_null())
            .await;
        assert_eq!(run["state"], "succeeded", "{run}\n{}", self.logs());
    }
}

/// When the agent is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The device has taken the run.
    Taken,
    /// The server has a new secret, and has not heard that it is in use.
    Offered,
    /// The password is another one.
    Changed,
    /// The server has heard that it is in use.
    Current,
}

impl Moment {
    /// Waits until it has come, of a run before which the password and the newest secret were these.
    async fn comes(self, world: &World, run: &str, account: &Account, hash: &str, newest: &Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let has_come = match self {
                Self::Taken => {
                    let view = world.get(&format!("/api/v1/runs/{run}")).await;
                    !matches!(view["state"].as_str(), Some("queued" | "offered"))
                }
                Self::Changed => account.hash() != hash,
                Self::Offered | Self::Current => {
                    let kept = world.kept().await;
                    let new = kept.first().filter(|secret| secret["id"] != *newest);
                    new.is_some_and(|secret| self == Self::Offered || secret["state"] == "current")
                }
            };
            if has_come {
                return;
            }
            assert!(Instant::now() < deadline, "{self:?} does not come\n{}", world.logs());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
async fn whenever_the_agent_is_killed_a_password_that_the_server_reveals_lets_the_user_in() {
    if !is_root() {
        return;
    }
    let account = Account::new();
    let mut world = World::new("socket").await;
    let params = json!({"users": [account.0], "end_sessions": false});
    let mut absent = params.clone();
    absent["state"] = json!("absent");
    let first = world.run_operation("password.rotation", params.clone(), 60).await;
    world.ended(&first).await;
    assert_eq!(world.fitting(&account).await, ["current"]);

    for moment in [Moment::Taken, Moment::Offered, Moment::Changed, Moment::Current] {
        // What is forgotten is changed at the next run.
        let forget = world.run_operation("password.rotation", absent.clone(), 60).await;
        world.ended(&forget).await;
        let (before, newest) = (account.hash(), world.kept().await[0]["id"].clone());
        let run = world.run_operation("password.rotation", params.clone(), 60).await;
        moment.comes(&world, &run, &account, &before, &newest).await;
        world.kill_agent();
        world.agent_ends().await;
        let fitting = world.fitting(&account).await;
        assert_eq!(fitting.len(), 1, "{moment:?}\n{}", world.logs());
        world.restart_agent().await;
        world.ended(&run).await;
        assert_eq!(
            world.fitting(&account).await,
            ["current"],
            "{moment:?}\n{}",
            world.logs()
        );
        assert_ne!(account.hash(), before, "{moment:?}");
    }
    world.stop().await;
}
