//! The program as it is shipped, on stores in a folder: there and back, killed at any moment, asked for what cannot be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::{
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use common::answer;
use fleet_bins_common::storage::{Purpose, open};
use fleet_core::{
    access::Context,
    kernel::{SystemClock, SystemRandom},
    modules,
    storage::CHECK,
    store::{Evidence, Store},
};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a filled SQLite store in it.
struct World {
    folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        common::fill(&world.uri("sqlite:source.db")).await;
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `sqlite:name` with its whole path.
    fn uri(&self, text: &str) -> String {
        let (engine, name) = text.split_once(':').unwrap();
        format!("{engine}:{}", self.path(name).display())
    }

    fn command(&self, verb: &str, from: &str, to: &str) -> Command {
        common::command(verb, &self.uri(from), &self.uri(to), &[])
    }

    /// Runs it; its answer. It ends with this code.
    #[track_caller]
    fn check(&self, verb: &str, from: &str, to: &str, more: &[&str], code: i32) -> Value {
        let output = self.command(verb, from, to).args(more).output().unwrap();
        answer(&output, code)
    }

    /// A row more, as a server would write it.
    async fn write(&self, store: &str) {
        let uri = self.uri(store).parse().unwrap();
        let opened = open(&uri, Purpose::Existing, Arc::new(SystemClock)).await.unwrap();
        let schema = modules::schema(&modules::built_in()).unwrap();
        let (store, _) = Store::open(opened.backend, &schema, Arc::new(SystemClock), Arc::new(SystemRandom))
            .await
            .unwrap();
        store
            .change(&Context::system("test"), Evidence::Audit(CHECK), |tx| tx.record())
            .await
            .unwrap();
        store.backend().close().await.unwrap();
    }
}

#[tokio::test]
async fn data_goes_through_every_engine_and_back_with_the_same_digest() {
    let world = World::new().await;
    let plan = world.check("plan", "sqlite:source.db", "json:folder", &[], 0);
    let digest = plan["contents"]["digest"].clone();
    assert!(plan["contents"]["records"].as_u64().unwrap() > 500, "{plan}");
    assert!(!world.path("folder").exists(), "a plan makes no target");
    let dry = world.check("run", "sqlite:source.db", "json:folder", &["--dry-run"], 0);
    assert_eq!(dry["contents"]["digest"], digest);

    for (from, to) in [
        ("sqlite:source.db", "json:folder"),
        ("json:folder", "sqlite:second.db"),
        ("sqlite:second.db", "json:last"),
    ] {
        let report = world.check("run", from, to, &[], 0);
        assert_eq!(
            (&report["outcome"], &report["contents"]["digest"]),
            (&"moved".into(), &digest),
            "{report}"
        );
        let verified = world.check("verify", from, to, &[], 0);
        assert_eq!(verified["difference"], Value::Null);
        let again = world.check("run", from, to, &[], 0);
        assert_eq!(again["outcome"], "already_moved");
    }
}

#[tokio::test]
async fn the_way_back_carries_what_was_written_since() {
    let world = World::new().await;
    world.check("run", "sqlite:source.db", "json:folder", &[], 0);
    world.write("json:folder").await;
    let different = world.check("verify", "sqlite:source.db", "json:folder", &[], 4);
    assert_ne!(different["difference"], Value::Null);
    let refused = world.check("run", "json:folder", "sqlite:source.db", &[], 3);
    assert_eq!(refused["error"]["code"], "migration.target_is_point_of_return");
    let back = world.check("back", "json:folder", "sqlite:source.db", &[], 0);
    assert!(
        back["copied"]["added"].as_u64().unwrap() < 20,
        "only what is new: {back}"
    );
    world.check("verify", "json:folder", "sqlite:source.db", &[], 0);
    // It serves again.
    world.write("sqlite:source.db").await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anything_is_changed() {
    let world = World::new().await;
    let code = |answer: Value| answer["error"]["code"].as_str().unwrap().to_owned();
    let same = world.check("run", "sqlite:source.db", "sqlite:source.db", &[], 3);
    assert_eq!(code(same), "migration.same_store");
    let missing = world.check("run", "sqlite:nothing.db", "json:folder", &[], 3);
    assert_eq!(code(missing), "migration.not_opened");
    assert!(!world.path("folder").exists() && !world.path("nothing.db").exists());

    world.check("run", "sqlite:source.db", "json:folder", &[], 0);
    world.check("back", "json:folder", "sqlite:source.db", &[], 0);
    let other = World::new().await;
    let full = other.path("source.db");
    let taken = Command::new(env!("CARGO_BIN_EXE_migrate-storage"))
        .args(["run", "--json", "--from", &world.uri("sqlite:source.db"), "--to"])
        .arg(format!("sqlite:{}", full.display()))
        .output()
        .unwrap();
    assert_eq!(code(answer(&taken, 3)), "migration.target_not_empty");

    let uri = world.uri("sqlite:source.db").parse().unwrap();
    let server = open(&uri, Purpose::Serve, Arc::new(SystemClock)).await.unwrap();
    let used = world.check("run", "sqlite:source.db", "json:another", &[], 3);
    assert!(used["error"]["message"].as_str().unwrap().contains("in use"), "{used}");
    let of_server = |answer: &Value| {
        answer["error"]["remedy"]
            .as_str()
            .unwrap()
            .contains("fleet storage move")
    };
    assert!(of_server(&used), "{used}");
    server.backend.close().await.unwrap();

    let online = world.check("run", "sqlite:source.db", "json:another", &["--online"], 3);
    assert!(of_server(&online), "{online}");
    assert_eq!(code(online), "migration.not_online");
    assert!(!world.path("another").exists());

    let wrong = Command::new(env!("CARGO_BIN_EXE_migrate-storage"))
        .args(["run", "--from", "oracle:x", "--to", "json:y"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

/// Starts a move and stops it with a signal after a while; whether it was over before.
fn stopped(mut command: Command, after: Duration, signal: &str) -> (Output, bool) {
    let child: Child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(after);
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let was_over = !sent.success() || output.status.success();
    (output, was_over)
}

/// Moves between two engines in a folder, killed at random moments.
async fn check_killed(from: &str, to: &str) {
    let folder = tempfile::tempdir().unwrap();
    let at = |engine: &str, name: &str| format!("{engine}:{}", folder.path().join(name).display());
    let mut number = 0;
    let mut targets = || {
        number += 1;
        at(to, &format!("target-{number}"))
    };
    common::check_killed_moves(&format!("{from} to {to}"), &at(from, "source"), &mut targets).await;
}

#[tokio::test]
async fn a_killed_move_goes_on_from_sqlite_to_json() {
    check_killed("sqlite", "json").await;
}

#[tokio::test]
async fn a_killed_move_goes_on_from_json_to_sqlite() {
    check_killed("json", "sqlite").await;
}

#[tokio::test]
async fn a_killed_move_goes_on_from_sqlite_to_sqlite() {
    check_killed("sqlite", "sqlite").await;
}

#[tokio::test]
async fn a_killed_move_goes_on_from_json_to_json() {
    check_killed("json", "json").await;
}

#[tokio::test]
async fn whoever_interrupts_a_move_is_told_how_to_go_on_and_may_give_it_up() {
    let world = World::new().await;
    let mut after = Duration::from_millis(1_500);
    let output = loop {
        let (output, was_over) = stopped(world.command("run", "sqlite:source.db", "json:folder"), after, "-INT");
        if !was_over {
            break output;
        }
        // Too late: go back, and be quicker.
        world.check("back", "json:folder", "sqlite:source.db", &[], 0);
        std::fs::remove_dir_all(world.path("folder")).unwrap();
        after /= 2;
        assert!(after > Duration::from_millis(20), "a move cannot be interrupted");
    };
    if output.status.code().is_some() {
        let said = answer(&output, 6);
        assert!(said["error"]["remedy"].as_str().unwrap().contains("--resume"), "{said}");
    }
    let status = world.check("status", "sqlite:source.db", "json:folder", &[], 0);
    if let Some("filling" | "frozen") = status["stage"]["stage"].as_str() {
        world.check("run", "sqlite:source.db", "json:folder", &[], 3);
        let given_up = world.check("abandon", "sqlite:source.db", "json:folder", &[], 0);
        assert_eq!(given_up["stage"]["stage"], "apart", "{given_up}");
    }
    world.write("sqlite:source.db").await;
}

#[test]
fn help_says_the_exit_codes() {
    let output = Command::new(env!("CARGO_BIN_EXE_migrate-storage"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for code in [
        "3 refused",
        "4 the stores differ",
        "5 a store cannot be reached",
        "6 interrupted",
    ] {
        assert!(help.replace('\n', " ").contains(code), "{code:?} is not in {help}");
    }
}
