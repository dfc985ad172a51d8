//! A store with a fleet in it, the program run on two stores, and kills of it at random moments.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use fleet_bench_dataset::{Dataset, Size};
use fleet_bins_common::storage::{Purpose, open};
use fleet_core::kernel::{Randomness as _, SeededRandom, SystemClock};
use serde_json::Value;

/// Fills a store with a fleet of some devices.
pub async fn fill(uri: &str) {
    let size = Size {
        packages: 40,
        ..Size::of(12)
    };
    let uri = uri.parse().unwrap();
    let backend = open(&uri, Purpose::Serve, Arc::new(SystemClock)).await.unwrap().backend;
    Dataset::new(5, size).fill(&backend, |_| ()).await.unwrap();
    backend.close().await.unwrap();
}

pub fn command(verb: &str, from: &str, to: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migrate-storage"));
    command.args([verb, "--json", "--from", from, "--to", to]).args(more);
    command
}

#[track_caller]
pub fn answer(output: &Output, code: i32) -> Value {
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(code), "{said}{errors}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{errors}"))
}

/// Runs it; its answer.
#[track_caller]
pub fn check(verb: &str, from: &str, to: &str, more: &[&str], code: i32) -> Value {
    answer(&command(verb, from, to, more).output().unwrap(), code)
}

/// How often moves of each pair are killed: a handful, or as often as `MOVE_KILLS` says.
fn kills() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "who runs the tests decides how long they take")]
    let asked = std::env::var("MOVE_KILLS");
    asked.map_or(5, |kills| kills.parse().expect("MOVE_KILLS is a number"))
}

/// Starts a move and kills it after a while; whether it was over before.
fn killed(mut command: Command, after: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    let was_over = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    child.wait().unwrap();
    was_over
}

/// A way to say what a store's next place is.
pub type Place<'a> = &'a mut (dyn FnMut() -> String + Send);

/// Moves from a store to new ones, and back, each time killed at random moments, gone on with or given up, until it was killed
/// often enough. Nothing is ever lost, and no two stores serve.
pub async fn check_killed_moves(pair: &str, from: &str, targets: Place<'_>) {
    fill(from).await;
    let random = SeededRandom::new(20_261_121);
    let part = |of: Duration| {
        let mut bytes = [0; 4];
        random.fill(&mut bytes);
        of.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
    };
    let first = targets();
    let digest = check("plan", from, &first, &[], 0)["contents"]["digest"].clone();
    let began = Instant::now();
    check("run", from, &first, &[], 0);
    // As long as a whole move takes, and a little.
    let whole = began.elapsed().mul_f32(1.1);
    check("back", &first, from, &[], 0);

    let (wanted, mut killed_at, mut given_up, mut moved, mut late) = (kills(), 0, 0, 0, 0);
    while killed_at < wanted {
        let to = targets();
        let mut over = false;
        for _ in 0..5 {
            if over || killed_at == wanted {
                break;
            }
            over = killed(command("run", from, &to, &["--resume"]), part(whole));
            if over {
                late += 1;
                break;
            }
            killed_at += 1;
            // A target may not be there yet.
            let status = check("status", from, &to, &[], 0);
            let stage = status["stage"]["stage"].as_str().unwrap();
            assert!(
                ["apart", "filling", "frozen", "moved"].contains(&stage),
                "{pair}: {status}"
            );
            if stage != "moved" && killed_at.is_multiple_of(7) {
                let apart = check("abandon", from, &to, &[], 0);
                assert_eq!(apart["stage"]["stage"], "apart", "{pair}: {apart}");
                given_up += 1;
            }
        }
        check("run", from, &to, &["--resume"], 0);
        let verified = check("verify", from, &to, &[], 0);
        assert_eq!(verified["target"]["digest"], digest, "{pair}, after {killed_at} kills");
        // The way back, killed too.
        if killed_at < wanted && !killed(command("back", &to, from, &["--resume"]), part(whole)) {
            killed_at += 1;
        }
        check("back", &to, from, &["--resume"], 0);
        let verified = check("verify", &to, from, &[], 0);
        assert_eq!(
            verified["target"]["digest"], digest,
            "{pair}, back, after {killed_at} kills"
        );
        moved += 1;
    }
    println!("{pair}: {killed_at} kills, {moved} moves there and back, {given_up} given up, {late} times too late");
}
