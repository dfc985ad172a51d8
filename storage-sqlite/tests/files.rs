//! The file: who may use it, and which ones are refused.

#![allow(clippy::unwrap_used, reason = "what a test stands on must not fail")]

mod common;

use std::{
    fs::{self, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
};

use common::{Folder, batch, open, try_open};
use fleet_core::store::{Backend as _, Error};
use sqlx::{ConnectOptions as _, Executor as _, sqlite::SqliteConnectOptions};

/// Opens a file and expects a refusal whose text says this.
#[track_caller]
fn check_refused(result: Result<fleet_storage_sqlite::SqliteStore, Error>, corrupt: bool, says: &[&str]) {
    let error = result.expect_err("the file must be refused");
    assert_eq!(matches!(error, Error::Corrupt(_)), corrupt, "{error:?}");
    assert_eq!(matches!(error, Error::Refused(_)), !corrupt, "{error:?}");
    for part in says {
        assert!(error.to_string().contains(part), "{error} does not say {part:?}");
    }
}

/// A closed store with a thousand devices or so.
async fn filled(path: &Path) {
    let store = open(path).await;
    for n in 1..=300 {
        store.commit(batch(n)).await.unwrap();
    }
    store.close().await.unwrap();
}

async fn sql(path: &Path, statement: &'static str) {
    let mut conn = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    conn.execute(statement).await.unwrap();
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_user_is_refused_until_the_first_has_closed() {
    let folder = Folder::new();
    let first = open(&folder.file()).await;
    check_refused(try_open(&folder.file()).await, false, &["in use by another process"]);
    first.close().await.unwrap();
    let second = try_open(&folder.file()).await.unwrap();
    second.close().await.unwrap();
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn files_and_folder_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let store = open(&folder.file()).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.file().parent().unwrap()), 0o700);
    let mut seen = 0;
    for entry in fs::read_dir(folder.file().parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        seen += 1;
    }
    assert_eq!(seen, 4, "the file, its log, the log's index and the lock");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_database_is_refused_and_left_alone() {
    let folder = Folder::new();
    fs::create_dir_all(folder.file().parent().unwrap()).unwrap();
    let text = "my diary, since 1987\n".repeat(500);
    fs::write(folder.file(), &text).unwrap();
    check_refused(
        try_open(&folder.file()).await,
        true,
        &["damaged or not a database", "restore"],
    );
    assert_eq!(fs::read_to_string(folder.file()).unwrap(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_of_another_program_is_refused() {
    let folder = Folder::new();
    fs::create_dir_all(folder.file().parent().unwrap()).unwrap();
    fs::write(folder.file(), b"").unwrap();
    sql(&folder.file(), "CREATE TABLE diary (day TEXT)").await;
    check_refused(try_open(&folder.file()).await, false, &["another program"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_is_refused() {
    let folder = Folder::new();
    filled(&folder.file()).await;
    sql(&folder.file(), "PRAGMA user_version = 99").await;
    check_refused(try_open(&folder.file()).await, false, &["newer version", "99"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_refused_with_what_to_do() {
    let says = ["damaged", "Nothing was changed", "restore", ".recover"];
    let folder = Folder::new();
    filled(&folder.file()).await;
    let whole = fs::read(folder.file()).unwrap();
    // Its end is missing.
    fs::write(folder.file(), &whole[..whole.len() - 5_000]).unwrap();
    check_refused(try_open(&folder.file()).await, true, &says);
    // Its beginning is something else.
    fs::write(folder.file(), &whole).unwrap();
    overwrite(&folder.file(), 0, &[0; 200]);
    check_refused(try_open(&folder.file()).await, true, &says);
    // The catalogue on its first page is garbage.
    fs::write(folder.file(), &whole).unwrap();
    overwrite(&folder.file(), 100, &[0xa5; 1_000]);
    check_refused(try_open(&folder.file()).await, true, &says);
    // And whole again.
    fs::write(folder.file(), &whole).unwrap();
    let store = open(&folder.file()).await;
    assert_eq!(store.check().await.unwrap(), []);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_deep_in_the_file_is_refused_after_an_unclean_end_and_found_by_a_check() {
    let folder = Folder::new();
    filled(&folder.file()).await;
    let length = fs::metadata(folder.file()).unwrap().len();
    for at in (8 * 4_096..length).step_by(4_096) {
        overwrite(&folder.file(), at, &[0xa5; 512]);
    }
    // After a clean end only the first pages are looked at.
    if let Ok(store) = try_open(&folder.file()).await {
        match store.prepare(&common::schema()).await {
            Ok(_) => assert_ne!(store.check().await.unwrap(), []),
            Err(error) => assert!(matches!(error, Error::Corrupt(_)), "{error:?}"),
        }
        let _ = store.close().await;
    }
    // A log that was left behind means an unclean end: then the file is read.
    let mut log = folder.file().into_os_string();
    log.push("-wal");
    fs::write(log, b"left behind").unwrap();
    check_refused(try_open(&folder.file()).await, true, &["damaged"]);
}
