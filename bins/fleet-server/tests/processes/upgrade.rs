//! A store of an older version is backed up before a newer server changes it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use fleet_bins_common::storage::{Purpose, open};
use fleet_core::{
    Fleet,
    kernel::{MasterKey, SystemClock, SystemRandom, Timestamp},
    modules,
    store::{Backend, Move, Record, Schema, SchemaReport, memory::MemoryStore},
};
use futures::{StreamExt as _, stream};
use tokio::process::Command;
use uuid::Uuid;

use crate::processes::{SERVER, Server};

/// What the version before did not have: a kind, and columns of another and of the audit.
pub(crate) fn older() -> Schema {
    let schema = modules::schema(&modules::built_in()).unwrap();
    let user = schema.kind("user").unwrap();
    let audit = schema.lane("audit").unwrap();
    let filled = [("user", &user.columns[0]), ("audit", &audit.columns[0])];
    schema.before(&SchemaReport {
        created: vec!["storage_backup".to_owned()],
        filled: filled.map(|(of, column)| format!("{of}.{}", column.name)).to_vec(),
    })
}

/// Fills the store with what a first start leaves, as the older version would have it; the digest of that.
pub(crate) async fn make(uri: &str, data: &Path) -> String {
    let key = MasterKey::generate(&SystemRandom);
    fs::create_dir_all(data.join("keys")).unwrap();
    let file = data.join("keys/master.key");
    fs::write(&file, format!("{}\n", *key.to_text())).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let memory: Arc<dyn Backend> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let fleet = Fleet::builder(memory.clone(), key).open().await.unwrap();
    let records: Vec<_> = memory.view().await.unwrap().export().collect().await;
    drop(fleet);
    assert!(records.len() > 3, "the server's keys, and the audit of making them");
    let Some(Ok(Record::End { digest, .. })) = records.last() else {
        panic!("an export ends");
    };
    let digest = digest.to_string();
    let store = open(&uri.parse().unwrap(), Purpose::Fill, Arc::new(SystemClock))
        .await
        .unwrap()
        .backend;
    store.prepare(&older()).await.unwrap();
    let by = Move {
        id: Uuid::from_u128(9),
        peer: "the past".into(),
        at: Timestamp::from_seconds(1),
    };
    store.import(by, stream::iter(records).boxed()).await.unwrap();
    store.close().await.unwrap();
    digest
}

fn backups(data: &Path) -> Vec<String> {
    let names = fs::read_dir(data.join("backups")).into_iter().flatten();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

async fn said(arguments: &[&str]) -> String {
    let output = Command::new(SERVER)
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap() + &errors
}

async fn serve(uri: &str, data: &Path, more: &[&str]) {
    let arguments = [&["--storage", uri][..], more].concat();
    let mut server = Server::start_with(data, "127.0.0.1:0", &arguments).await;
    server.kill().await;
}

/// A server is started on a store of an older version at `uri`; `restored` is another, empty one of that engine.
pub(crate) async fn check_backed_up_before_an_upgrade(uri: &str, restored: &str) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let digest = make(uri, &data).await;
    serve(uri, &data, &[]).await;
    let made = backups(&data);
    let [file] = &made[..] else {
        panic!("one backup, and not {made:?}");
    };
    assert!(file.starts_with("fleet-before-upgrade-"), "{file}");
    let file = data.join("backups").join(file);
    let file = file.to_str().unwrap();
    assert!(
        said(&["backup", "verify", file]).await.contains(&digest),
        "it holds what was there"
    );
    let words = said(&[
        "restore",
        "--from",
        file,
        "--data",
        data.to_str().unwrap(),
        "--storage",
        restored,
    ])
    .await;
    assert!(words.contains(&digest), "{words}");

    serve(uri, &data, &[]).await;
    assert_eq!(backups(&data).len(), 1, "nothing is changed by the next start");
}

/// The same with the flag that wants none.
pub(crate) async fn check_not_backed_up_when_told_so(uri: &str) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    make(uri, &data).await;
    serve(uri, &data, &["--no-backup-before-upgrade"]).await;
    assert_eq!(backups(&data), [""; 0]);
    let log = fs::read_to_string(data.join("server.log")).unwrap();
    assert!(log.contains("no backup is made, as asked"), "{log}");
}
