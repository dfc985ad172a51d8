//! The commands of the handbook, `docs/storage/backup.md`, as they stand there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test stands on must not fail"
)]

mod common;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use common::{Folder, batch, open};
use fleet_core::store::{Backend as _, Filter, Record};
use futures::StreamExt as _;

/// The console lines of the handbook that begin with a program.
fn commands(program: &str) -> Vec<String> {
    let page = include_str!("../../docs/storage/backup.md");
    let prompt = format!("$ {program} ");
    let lines = page.lines().filter(|line| line.starts_with(&prompt));
    lines.map(|line| line["$ ".len()..].to_owned()).collect()
}

/// Runs a line of the page in a shell, with paths that are this test's.
fn run(line: &str, changes: &[(&str, &Path)]) {
    let mut line = line.to_owned();
    for (of_the_page, ours) in changes {
        assert!(line.contains(of_the_page), "{of_the_page} is not in: {line}");
        line = line.replace(of_the_page, ours.to_str().unwrap());
    }
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{line}: {errors} (the program sqlite3 is installed by `cargo xtask setup`)"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_handbooks_copy_of_a_store_in_use_holds_one_state() {
    let folder = Folder::new();
    let (file, copy) = (folder.file(), folder.file().with_file_name("copy.db"));
    let store = Arc::new(open(&file).await);
    for n in 0..200 {
        store.commit(batch(n)).await.unwrap();
    }
    let over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, over) = (store.clone(), over.clone());
        async move {
            for n in 200.. {
                store.commit(batch(n)).await.expect("a copy does not stop writers");
                if over.load(Ordering::SeqCst) {
                    break;
                }
            }
        }
    });
    let [line] = &commands("sqlite3")[..] else {
        panic!("the page has one command of sqlite3");
    };
    let (line, from, to) = (line.clone(), file.clone(), copy.clone());
    tokio::task::spawn_blocking(move || {
        let changes = [
            ("/var/lib/fleet/fleet.db", from.as_path()),
            ("/srv/backups/fleet.db", to.as_path()),
        ];
        run(&line, &changes);
    })
    .await
    .unwrap();
    over.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    store.close().await.unwrap();
    drop(store);

    // As the page says: the copy in the place of the file, and nothing beside it.
    fs::rename(&copy, &file).unwrap();
    for beside in ["fleet.db-wal", "fleet.db-shm"] {
        let _ = fs::remove_file(file.with_file_name(beside));
    }
    let store = open(&file).await;
    assert_eq!(store.check().await.unwrap(), []);
    let mut view = store.view().await.unwrap();
    let devices = view.count("device", &Filter::All).await.unwrap();
    assert!(
        devices >= 200,
        "what was acknowledged before the copy is in it: {devices}"
    );
    // Each commit wrote one device and a row of each of two lanes.
    let (mut rows, mut export) = (0, view.export());
    while let Some(record) = export.next().await {
        rows += u64::from(matches!(record.unwrap(), Record::Row(..)));
    }
    assert_eq!(rows, 2 * devices, "one state");
    store.commit(batch(1_000_000)).await.unwrap();
    store.close().await.unwrap();
}
