//! What a server refuses to start on, and whether it says what to do.

use std::{fs, path::Path, process::Output, sync::Arc};

use fleet_core::{
    kernel::{SystemClock, Timestamp},
    modules,
    store::{Backend, LatestSchema, Move, Relocate as _},
};
use fleet_storage_sqlite::{SqliteOptions, SqliteStore};
use tokio::process::Command;
use uuid::Uuid;

use crate::processes::{SERVER, Server};

async fn start(data: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(SERVER);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(more)
        .kill_on_drop(true);
    tokio::time::timeout(std::time::Duration::from_secs(30), command.output())
        .await
        .expect("it ends by itself")
        .unwrap()
}

/// The server ends with an error that says all of this.
async fn check_refused(data: &Path, more: &[&str], said: &[&str]) {
    let output = start(data, more).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for part in said {
        assert!(errors.contains(part), "{part:?} is not in: {errors}");
    }
}

/// A data folder with a store that a server has used.
async fn used() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), "127.0.0.1:0").await;
    server.kill().await;
    data
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_left_as_it_is() {
    let data = used().await;
    let file = data.path().join("fleet.db");
    for name in ["fleet.db-wal", "fleet.db-shm"] {
        let _ = fs::remove_file(data.path().join(name));
    }
    fs::write(&file, [b'x'; 8192]).unwrap();
    check_refused(data.path(), &[], &["fleet.db", "backup"]).await;
    assert_eq!(fs::read(&file).unwrap(), [b'x'; 8192]);
}

#[tokio::test]
async fn a_second_server_on_the_same_store_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), "127.0.0.1:0").await;
    check_refused(data.path(), &[], &["in use"]).await;
    server.kill().await;
}

#[tokio::test]
async fn a_store_without_its_master_key_is_refused() {
    let data = used().await;
    fs::remove_file(data.path().join("keys/master.key")).unwrap();
    check_refused(data.path(), &[], &["master key", "backup"]).await;
}

#[tokio::test]
async fn a_store_with_another_master_key_is_refused_by_the_name_of_the_missing_one() {
    let (data, other) = (used().await, used().await);
    let key = other.path().join("keys/master.key");
    check_refused(
        data.path(),
        &["--master-key-file", key.to_str().unwrap()],
        &["master key", "missing"],
    )
    .await;
}

/// The store of a data folder, as a mover opens it.
async fn store(file: &Path) -> SqliteStore {
    let store = SqliteStore::open(file, SqliteOptions::default(), Arc::new(SystemClock))
        .await
        .unwrap();
    let schema = modules::schema(&modules::built_in()).unwrap();
    store.prepare(&schema).await.unwrap();
    store
}

fn a_move() -> Move {
    Move {
        id: Uuid::from_u128(7),
        peer: "postgres://fleet@db/fleet".into(),
        at: Timestamp::from_seconds(1_800_000_000),
    }
}

#[tokio::test]
async fn a_store_whose_data_was_moved_away_is_refused_and_says_where_to() {
    let data = used().await;
    let store = store(&data.path().join("fleet.db")).await;
    store.freeze(a_move()).await.unwrap();
    store.close().await.unwrap();
    check_refused(
        data.path(),
        &[],
        &["frozen", "postgres://fleet@db/fleet", "migrate-storage back"],
    )
    .await;
}

#[tokio::test]
async fn a_store_that_is_half_filled_is_refused_and_says_how_to_finish() {
    let data = used().await;
    let file = data.path().join("half.db");
    let store = store(&file).await;
    store.fill(a_move()).await.unwrap();
    store.close().await.unwrap();
    let uri = format!("sqlite:{}", file.display());
    check_refused(data.path(), &["--storage", &uri], &["being filled", "--resume"]).await;
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused_and_left_as_it_is() {
    let data = used().await;
    let store = SqliteStore::open(
        data.path().join("fleet.db"),
        SqliteOptions::default(),
        Arc::new(SystemClock),
    )
    .await
    .unwrap();
    let schema = modules::schema(&modules::built_in())
        .unwrap()
        .with_latest(LatestSchema { name: "tomorrow" })
        .unwrap();
    store.prepare(&schema).await.unwrap();
    store.close().await.unwrap();
    check_refused(data.path(), &[], &["tomorrow", "newer version"]).await;
}

#[tokio::test]
async fn plain_http_beyond_loopback_must_be_asked_for() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("server.toml");
    fs::write(&config, "listen = '0.0.0.0:0'").unwrap();
    let output = Command::new(SERVER)
        .args(["serve", "--config"])
        .arg(&config)
        .arg("--data")
        .arg(data.path())
        .output()
        .await
        .unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("--behind-proxy"));
}

#[tokio::test]
async fn an_unknown_key_in_the_configuration_is_an_error() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("server.toml");
    fs::write(&config, "lissten = '127.0.0.1:0'").unwrap();
    check_refused(data.path(), &["--config", config.to_str().unwrap()], &["lissten"]).await;
}

#[tokio::test]
async fn a_server_takes_as_many_open_files_as_the_system_allows() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let data = tempfile::tempdir().unwrap();
    let mut server = Command::new("sh")
        .args([
            "-c",
            r#"ulimit -S -n 256; exec "$0" serve --listen 127.0.0.1:0 --data "$1""#,
        ])
        .arg(SERVER)
        .arg(data.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    lines.next_line().await.unwrap().expect("it listens");
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.id().unwrap())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<_> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{files}");
    assert_ne!(numbers[0], "256", "{files}");
    server.kill().await.unwrap();
}
