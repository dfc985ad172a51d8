//! A store in files is backed up before a newer server changes it.

use std::{fs, sync::Arc};

use fleet_bins_common::storage::{Purpose, open};
use fleet_core::{kernel::SystemClock, store::SchemaReport};
use tokio::process::Command;

use crate::{
    processes::SERVER,
    upgrade::{check_backed_up_before_an_upgrade, check_not_backed_up_when_told_so, make, older},
};

/// In a file below a folder.
fn at(engine: &str, folder: &tempfile::TempDir, name: &str) -> String {
    format!("{engine}:{}", folder.path().join(name).display())
}

#[tokio::test]
async fn sqlite_is_backed_up_before_an_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    check_backed_up_before_an_upgrade(&at("sqlite", &folder, "a.db"), &at("sqlite", &folder, "b.db")).await;
    check_not_backed_up_when_told_so(&at("sqlite", &folder, "c.db")).await;
}

#[tokio::test]
async fn json_is_backed_up_before_an_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    check_backed_up_before_an_upgrade(&at("json", &folder, "a"), &at("json", &folder, "b")).await;
    check_not_backed_up_when_told_so(&at("json", &folder, "c")).await;
}

#[tokio::test]
async fn a_backup_that_cannot_be_made_keeps_the_store_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (uri, data) = (at("sqlite", &folder, "a.db"), folder.path().join("data"));
    make(&uri, &data).await;
    // A file where the folder should be.
    fs::write(data.join("backups"), "").unwrap();
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--storage",
        &uri,
        "--data",
        data.to_str().unwrap(),
    ];
    let output = Command::new(SERVER)
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("--no-backup-before-upgrade") && errors.contains("storage_backup"),
        "{errors}"
    );
    let store = open(&uri.parse().unwrap(), Purpose::Existing, Arc::new(SystemClock))
        .await
        .unwrap()
        .backend;
    assert_eq!(store.pending(&older()).await.unwrap(), SchemaReport::default());
    store.close().await.unwrap();
}
