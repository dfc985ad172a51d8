//! A run that should stop while a package manager is at work stops when that has ended.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use fleet_agent_lib::executor::{Executor, ExecutorConfig, Outcome, ShellSpec};
use fleet_core::{
    kernel::{SystemClock, SystemRandom, random_bytes},
    protocol::OutputChunk,
};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

/// Runs a program of this name, which takes a while, and cancels it as soon as it has begun; how the run ended, and whether the
/// program came to its own end.
async fn cancel_while_at_work(name: &str) -> (Outcome, bool) {
    let folder = tempfile::tempdir().unwrap();
    let (program, done) = (folder.path().join(name), folder.path().join("done"));
    let text = format!("#!/bin/sh\necho begun\nsleep 2\necho > {}\n", done.display());
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = run(folder.path(), &format!("{}\nsleep 600", program.display())).await;
    (outcome, done.exists())
}

async fn run(folder: &Path, script: &str) -> Outcome {
    // One of its own: processes of a run are found by it, also those of another test.
    let id = Uuid::from_bytes(random_bytes(&SystemRandom));
    let config = ExecutorConfig {
        scripts: folder.join("scripts"),
        shared_scripts: folder.join("shared"),
        environment: Vec::new(),
    };
    let executor = Executor::new(config, Arc::new(SystemClock));
    let (sender, mut chunks) = mpsc::channel::<OutputChunk>(16);
    let (cancel, cancelled) = watch::channel(false);
    let spec = ShellSpec {
        grace: Duration::from_secs(1),
        ..ShellSpec::script(script)
    };
    let cancelling = async {
        while let Some(chunk) = chunks.recv().await {
            if chunk.text.contains("begun") {
                cancel.send_replace(true);
            }
        }
    };
    let (outcome, ()) = tokio::join!(executor.run(id, &spec, 0, sender, cancelled), cancelling);
    outcome.unwrap()
}

#[tokio::test]
async fn a_package_manager_at_work_is_not_cut_short_and_then_the_run_stops() {
    for name in ["dpkg", "zypper"] {
        let (outcome, is_done) = cancel_while_at_work(name).await;
        assert!(outcome.cancelled && is_done, "{name}: {outcome:?}");
        assert!(outcome.finished_at.since(outcome.started_at) < Duration::from_secs(300));
    }
}

#[tokio::test]
async fn anything_else_is_stopped_at_once() {
    let (outcome, is_done) = cancel_while_at_work("dpkg-not").await;
    assert!(outcome.cancelled && !is_done, "{outcome:?}");
}
