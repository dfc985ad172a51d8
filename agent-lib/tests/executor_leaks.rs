//! In a program of its own, because it counts what the whole process holds.

#![expect(clippy::unwrap_used, reason = "all of this is test")]

use std::{sync::Arc, time::Duration};

use fleet_agent_lib::executor::{Executor, ExecutorConfig, Program, ShellSpec};
use fleet_core::{
    kernel::{Clock, SystemClock, SystemRandom, random_uuid},
    protocol::OutputChunk,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

const RUNS: u128 = 2_000;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Children of this process, dead or alive.
fn children() -> usize {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)) == Some(&own))
        .count()
}

async fn run(executor: Executor, number: u128) {
    let (sender, mut chunks) = mpsc::channel::<OutputChunk>(4);
    let (_cancel, cancelled) = watch::channel(false);
    let reading = async {
        let mut text = String::new();
        while let Some(chunk) = chunks.recv().await {
            text.push_str(&chunk.text);
        }
        text
    };
    let spec = match number % 4 {
        // A background child that outlives the leader, a signal, an error, a plain one.
        0 => ShellSpec::script(format!("sleep 600 >/dev/null 2>&1 & echo {number}")),
        1 => ShellSpec::script(format!("echo {number}; kill -9 $$")),
        2 => ShellSpec {
            working_directory: Some("/no/such/place".into()),
            ..ShellSpec::script("")
        },
        _ => ShellSpec {
            program: Program::Command {
                program: "echo".into(),
                arguments: vec![number.to_string()],
            },
            ..ShellSpec::script("")
        },
    };
    let id = random_uuid(SystemClock.now(), &SystemRandom);
    let running = executor.run(id, &spec, 0, sender, cancelled);
    let (outcome, text) = tokio::join!(running, reading);
    if number % 4 == 2 {
        assert!(outcome.is_err() && text.is_empty());
    } else {
        assert_eq!(outcome.unwrap().exit_code, if number % 4 == 1 { None } else { Some(0) });
        assert_eq!(text, format!("{number}\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_short_runs_leave_no_process_and_no_open_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = ExecutorConfig {
        scripts: folder.path().join("scripts"),
        shared_scripts: folder.path().join("shared"),
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
    };
    let executor = Executor::new(config, Arc::new(SystemClock));
    // What the runtime opens once does not count.
    run(executor.clone(), 0).await;
    run(executor.clone(), 3).await;
    let before = open_files();
    let mut tasks = JoinSet::new();
    for number in 0..RUNS {
        if tasks.len() >= 8 {
            tasks.join_next().await.unwrap().unwrap();
        }
        tasks.spawn(run(executor.clone(), number));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(open_files(), before);
    assert_eq!(children(), 0);
    assert_eq!(std::fs::read_dir(folder.path().join("scripts")).unwrap().count(), 0);

    // Aborted ones are reaped by the runtime as they die.
    for number in 0..50 {
        let task = tokio::spawn(run(executor.clone(), number * 4));
        tokio::time::sleep(Duration::from_millis(number as u64 % 7)).await;
        task.abort();
        let _ = task.await;
    }
    let cleared = async {
        while children() > 0 || open_files() > before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), cleared).await.unwrap();
}
