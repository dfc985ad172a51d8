//! The program on Postgres: a source that other processes write to while it is moved.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod common;

#[path = "../../../storage-postgres/tests/common/database.rs"]
mod database;

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{answer, command, fill};
use database::Namespace;
use fleet_bins_common::storage::{Purpose, open};
use fleet_core::{
    access::Context,
    kernel::{SystemClock, SystemRandom},
    modules,
    storage::CHECK,
    store::{Backend, Error, Evidence, Ingest, Key, Latest, NOT_SERVING, Record, RecordKey, Store},
};
use serde_json::Value;
use tokio::task::JoinHandle;
use uuid::Uuid;

async fn backend(uri: &str) -> Arc<dyn Backend> {
    let uri = uri.parse().unwrap();
    open(&uri, Purpose::Serve, Arc::new(SystemClock)).await.unwrap().backend
}

async fn store(uri: &str) -> Store {
    let schema = modules::schema(&modules::built_in()).unwrap();
    let opened = Store::open(
        backend(uri).await,
        &schema,
        Arc::new(SystemClock),
        Arc::new(SystemRandom),
    )
    .await;
    opened.unwrap().0
}

/// A store in a namespace of its own, with a fleet in it.
async fn filled() -> Namespace {
    let namespace = Namespace::new();
    fill(&namespace.uri()).await;
    namespace
}

/// Runs it beside what the test does; its answer.
async fn check(verb: &str, from: &str, to: &str, more: &[&str], code: i32) -> Value {
    let mut command = command(verb, from, to, more);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    answer(&output, code)
}

/// A process that writes, and remembers what was acknowledged.
struct Writer {
    number: u64,
    /// Told to leave off; a frozen store ends it too.
    over: Arc<AtomicBool>,
    work: JoinHandle<Acknowledged>,
}

/// What a writer was told.
struct Acknowledged {
    commits: u64,
    /// The last latest value.
    value: u64,
    refused: bool,
}

impl Writer {
    /// The id of its latest value.
    fn id(number: u64) -> Uuid {
        Uuid::from_u128(0xacc_0000 + u128::from(number))
    }

    async fn start(uri: &str, number: u64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (store, leave_off) = (store(uri).await, over.clone());
        let set = modules::schema(&modules::built_in())
            .unwrap()
            .latests()
            .next()
            .unwrap()
            .name;
        let work = tokio::spawn(async move {
            let mut told = Acknowledged {
                commits: 0,
                value: 0,
                refused: false,
            };
            while !leave_off.load(Ordering::SeqCst) {
                let next = told.commits + 1;
                let context = Context::system("test");
                let change = store.change(&context, Evidence::Audit(CHECK), |mut tx| {
                    tx.detail("writer", number);
                    tx.detail("number", next);
                    tx.record()
                });
                if let Err(error) = change.await {
                    assert_eq!(error.code(), NOT_SERVING, "{}", error.log());
                    told.refused = true;
                    break;
                }
                told.commits = next;
                let latest = Latest {
                    key: Key::new(set, Self::id(number)),
                    body: format!("{{\"n\":{next},\"v\":1}}").into(),
                };
                let ingest = Ingest {
                    latest: vec![latest],
                    rows: Vec::new(),
                };
                if let Err(error) = store.backend().ingest(ingest).await {
                    assert!(matches!(error, Error::NotServing(_)), "{error}");
                    told.refused = true;
                    break;
                }
                told.value = next;
            }
            let _ = store.backend().close().await;
            told
        });
        Self { number, over, work }
    }

    async fn end(self) -> (u64, Acknowledged) {
        self.over.store(true, Ordering::SeqCst);
        (self.number, self.work.await.unwrap())
    }
}

/// All records of a store.
async fn records(uri: &str) -> Vec<Record> {
    let store = store(uri).await;
    let mut view = store.backend().view().await.unwrap();
    let (mut all, mut after): (Vec<Record>, Option<RecordKey>) = (Vec::new(), None);
    loop {
        let page = view.records(after, 1_000).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.key();
        all.extend(page);
    }
    drop(view);
    store.backend().close().await.unwrap();
    all
}

/// Everything that writers were told of is there, once.
async fn check_nothing_lost(uri: &str, writers: Vec<(u64, Acknowledged)>) {
    let records = records(uri).await;
    for (writer, told) in writers {
        assert!(told.commits > 0, "writer {writer} never wrote");
        let mut numbers: Vec<u64> = Vec::new();
        let mut value = None;
        for record in &records {
            match record {
                Record::Row("audit", stored) => {
                    let body: Value = serde_json::from_slice(&stored.row.body).unwrap();
                    if body["details"]["writer"] == writer {
                        numbers.extend(body["details"]["number"].as_u64());
                    }
                }
                Record::Latest(latest) if latest.key.id == Writer::id(writer) => {
                    value = serde_json::from_slice::<Value>(&latest.body).unwrap()["n"].as_u64();
                }
                _ => {}
            }
        }
        numbers.sort_unstable();
        // The last write may have been taken although nobody was told.
        let there = u64::try_from(numbers.len()).unwrap();
        assert_eq!(numbers, (1..=there).collect::<Vec<_>>(), "writer {writer}");
        assert!(
            there == told.commits || there == told.commits + 1,
            "writer {writer}: {there} of {}",
            told.commits
        );
        assert!(
            value >= Some(told.value),
            "writer {writer}: {value:?} of {}",
            told.value
        );
    }
}

fn json_in(folder: &Path) -> String {
    format!("json:{}", folder.join("json").display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_while_servers_write_loses_nothing_that_was_acknowledged() {
    let (source, folder) = (filled().await, tempfile::tempdir().unwrap());
    let (from, to) = (source.uri(), json_in(folder.path()));
    let mut writers = Vec::new();
    for number in 1..=3 {
        writers.push(Writer::start(&from, number).await);
    }
    let report = check("run", &from, &to, &["--online"], 0).await;
    assert_eq!(
        (&report["outcome"], &report["online"]),
        (&"moved".into(), &true.into()),
        "{report}"
    );
    assert!(report["pause_ms"].is_u64(), "{report}");
    let mut told = Vec::new();
    for writer in writers {
        let (number, acknowledged) = writer.work.await.map(|told| (writer.number, told)).unwrap();
        assert!(acknowledged.refused, "a frozen source takes no writes");
        told.push((number, acknowledged));
    }
    check("verify", &from, &to, &[], 0).await;
    check_nothing_lost(&to, told).await;
    // And back online into the old store, while nobody can write to the folder but us.
    let refused = check("back", &to, &from, &["--online"], 3).await;
    assert_eq!(refused["error"]["code"], "migration.not_online");
    check("back", &to, &from, &[], 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_online_move_leaves_writers_alone_and_goes_on() {
    let (source, folder) = (filled().await, tempfile::tempdir().unwrap());
    let (from, to) = (source.uri(), json_in(folder.path()));
    let mut after = Duration::from_millis(1_200);
    let mut interrupted = false;
    let mut round = 0;
    let mut told = Vec::new();
    while !interrupted {
        round += 1;
        assert!(round < 8, "a move cannot be interrupted");
        let writer = Writer::start(&from, round).await;
        let child = command("run", &from, &to, &["--online"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        tokio::time::sleep(after).await;
        let sent = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap())
            .await
            .unwrap();
        let (number, acknowledged) = writer.end().await;
        if output.status.success() {
            // Too late: go back, and be quicker.
            assert!(acknowledged.refused);
            check("back", &to, &from, &[], 0).await;
            std::fs::remove_dir_all(folder.path().join("json")).unwrap();
            after /= 2;
        } else if let Some(code) = output.status.code() {
            let said = answer(&output, code);
            assert_eq!(
                (code, &said["error"]["code"]),
                (6, &"migration.interrupted".into()),
                "{said}"
            );
            let remedy = said["error"]["remedy"].as_str().unwrap();
            assert!(
                remedy.contains("migrate-storage run --online --resume --from postgres://"),
                "{remedy}"
            );
            assert!(!acknowledged.refused, "the source serves on");
            interrupted = true;
        } else {
            // The signal came before the program listened.
            after += Duration::from_millis(100);
        }
        told.push((number, acknowledged));
    }
    let status = check("status", &from, &to, &[], 0).await;
    assert!(
        ["filling", "apart"].contains(&status["stage"]["stage"].as_str().unwrap()),
        "{status}"
    );
    let writer = Writer::start(&from, 100).await;
    let report = check("run", &from, &to, &["--online", "--resume"], 0).await;
    assert_eq!(report["outcome"], "moved", "{report}");
    told.push(writer.end().await);
    check_nothing_lost(&to, told).await;
}

/// Moves of one engine, or to it, killed at random moments.
async fn check_killed(from: &str, to: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = Vec::new();
    let mut number = 0;
    let mut place = |engine: &str| {
        number += 1;
        match engine {
            "postgres" => {
                kept.push(Namespace::new());
                kept.last().unwrap().uri()
            }
            engine => format!("{engine}:{}", folder.path().join(format!("store-{number}")).display()),
        }
    };
    let source = place(from);
    let mut targets = || place(to);
    common::check_killed_moves(&format!("{from} to {to}"), &source, &mut targets).await;
}

#[tokio::test]
async fn a_killed_move_goes_on_from_postgres_to_json() {
    check_killed("postgres", "json").await;
}

#[tokio::test]
async fn a_killed_move_goes_on_from_json_to_postgres() {
    check_killed("json", "postgres").await;
}

#[tokio::test]
async fn a_killed_move_goes_on_from_postgres_to_sqlite() {
    check_killed("postgres", "sqlite").await;
}

#[tokio::test]
async fn a_killed_move_goes_on_from_sqlite_to_postgres() {
    check_killed("sqlite", "postgres").await;
}

#[tokio::test]
async fn a_killed_move_goes_on_from_postgres_to_postgres() {
    check_killed("postgres", "postgres").await;
}
