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

/// What `fleet-server config` says, with a file, variables and flags.
async fn explained(folder: &Path, file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Output {
    let path = folder.join("server.toml");
    fs::write(&path, file).unwrap();
    let mut command = Command::new(SERVER);
    command.arg("config").arg("--config").arg(path).args(flags);
    command.envs(variables.iter().copied()).output().await.unwrap()
}

#[tokio::test]
async fn settings_come_from_flag_variable_and_file_and_say_which() {
    let data = tempfile::tempdir().unwrap();
    let file = "[settings]\nstorage.backup_keep = 3\nstorage.backup_every_hours = 6\nstorage.backup_folder = 'kept'\n";
    let variables = [
        ("FLEET_SETTING_STORAGE_BACKUP_KEEP", "4"),
        ("FLEET_SETTING_STORAGE_BACKUP_EVERY_HOURS", "7"),
    ];
    let flags = ["--set", "storage.backup_keep=5"];
    let output = explained(data.path(), file, &variables, &flags).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    for line in [
        ["storage.backup_keep", "5", "flag"],
        ["storage.backup_every_hours", "7", "environment"],
        ["storage.backup_folder", "\"kept\"", "file"],
    ] {
        assert!(words.contains(&line.to_vec()), "{line:?} is not in {text}");
    }

    // The same in the server, above what is stored.
    let file = data.path().join("server.toml");
    let more = ["--set", "storage.backup_keep=5", "--config", file.to_str().unwrap()];
    let mut server = Server::start_with(data.path(), "127.0.0.1:0", &more).await;
    let token = fs::read_to_string(data.path().join("bootstrap-token")).unwrap();
    let claim = serde_json::json!({"token": token, "name": "ada", "password": "a perfectly fine password"});
    let login = serde_json::json!({"name": "ada", "password": "a perfectly fine password"});
    let client = reqwest::Client::new();
    let post = async |path: &str, body: &serde_json::Value| -> serde_json::Value {
        let request = client.post(format!("{}/api/v1/{path}", server.address));
        request.json(body).send().await.unwrap().json().await.unwrap()
    };
    post("bootstrap", &claim).await;
    let session = post("sessions", &login).await;
    let setting = async |name: &str| -> serde_json::Value {
        let request = client.get(format!("{}/api/v1/settings/{name}", server.address));
        let request = request.bearer_auth(session["token"].as_str().unwrap());
        request.send().await.unwrap().json().await.unwrap()
    };
    let keep = setting("storage.backup_keep").await;
    assert_eq!((&keep["value"], &keep["source"]), (&5.into(), &"flag".into()), "{keep}");
    let every = setting("storage.backup_every_hours").await;
    assert_eq!(
        (&every["value"], &every["source"]),
        (&6.into(), &"file".into()),
        "{every}"
    );
    server.kill().await;
}

#[tokio::test]
async fn settings_that_are_none_or_are_not_allowed_are_refused_before_a_store_is_made() {
    let data = tempfile::tempdir().unwrap();
    for (flag, said) in [
        (
            "storage.keep=5",
            "there is no setting storage.keep, which the command line names",
        ),
        (
            "storage.backup_keep=many",
            "storage.backup_keep from the command line is not allowed",
        ),
        ("storage.backup_keep", "expected NAME=VALUE"),
    ] {
        check_refused(data.path(), &["--set", flag], &[said]).await;
    }
    let unknown = explained(data.path(), "[settings]\nstorage.keep = 5\n", &[], &[]).await;
    let errors = String::from_utf8_lossy(&unknown.stderr);
    assert!(errors.contains("which the configuration file names"), "{errors}");
    let variable = explained(data.path(), "", &[("FLEET_SETTING_KEEP", "5")], &[]).await;
    let errors = String::from_utf8_lossy(&variable.stderr);
    assert!(errors.contains("FLEET_SETTING_KEEP names no setting"), "{errors}");
    assert!(!data.path().join("fleet.db").exists());
}
