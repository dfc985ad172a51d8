//! The swarm with few agents and a real server: it works, and nothing is lost. How quick it is, is another matter.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{path::Path, process::Command};

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_fleet-bench");

/// Lets a swarm beat with these arguments; what it printed on the last line.
#[track_caller]
fn check(arguments: &[&str]) -> Value {
    let server = Path::new(BENCH).with_file_name("fleet-server");
    assert!(
        server.exists(),
        "{} is not there; run `cargo build --workspace` first, as `cargo xtask test` does",
        server.display()
    );
    let output = Command::new(BENCH)
        .args([
            "swarm",
            "--json",
            "--agents",
            "20",
            "--beat-seconds",
            "1",
            "--seconds",
            "3",
        ])
        .args(arguments)
        .output()
        .unwrap();
    let (printed, said) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{printed}\n{said}");
    let outcome: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!(outcome["ok"], true, "{outcome}");
    assert_eq!(outcome["agents"], 20, "{outcome}");
    assert_eq!(outcome["lost"], 0, "{outcome}");
    assert_eq!(outcome["refused_offers"], 0, "{outcome}");
    assert!(outcome["beats_per_second"].as_f64().unwrap() > 0.0, "{outcome}");
    assert!(outcome["rss_mb"].as_f64().unwrap() > 0.0, "{outcome}");
    outcome
}

#[test]
fn connected_agents_work_and_come_back_after_the_server_was_killed() {
    let outcome = check(&["--run", "--storm"]);
    assert_eq!(outcome["tls"], false);
    assert_eq!(outcome["shown_offline"], 0, "{outcome}");
}

#[test]
fn agents_with_certificates_do_the_same() {
    let outcome = check(&["--tls", "--run", "--storm"]);
    assert_eq!(outcome["tls"], true);
    assert_eq!(outcome["shown_offline"], 0, "{outcome}");
}

#[test]
fn agents_that_poll_report_and_work() {
    let outcome = check(&["--poll", "--run", "--reports", "--backend", "json"]);
    assert!(outcome["reports"].as_u64().unwrap() >= 20, "{outcome}");
}

#[test]
fn broken_networks_wrong_clocks_and_failing_runs_lose_nothing() {
    let faults = [
        "--churn",
        "100",
        "--clock-skew",
        "100000",
        "--slow",
        "20",
        "--slow-millis",
        "50",
    ];
    let outcome = check(&[&faults[..], &["--failures", "30", "--run"]].concat());
    assert!(
        outcome["troubles"]["assertion.stale"].as_u64().unwrap() > 0,
        "{outcome}"
    );
}
