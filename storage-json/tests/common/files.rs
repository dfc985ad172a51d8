//! The files of a store, looked at and damaged from outside.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fleet_core::store::{Backend as _, Error, Filter};

use super::{batch, ingest, open, schema, try_open};

/// All files below a folder, with their paths from it.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub fn find(folder: &Path, part: &str) -> PathBuf {
    let found = files(folder);
    let found: Vec<_> = found
        .iter()
        .filter(|path| path.display().to_string().contains(part))
        .collect();
    assert_eq!(found.len(), 1, "{part}: {found:?}");
    found[0].clone()
}

/// Ten devices in a snapshot and ten in the journal behind it.
pub async fn filled(path: &Path) {
    let store = open(path).await;
    for n in 1..=10 {
        store.commit(batch(n)).await.unwrap();
        store.ingest(ingest(n, 9)).await.unwrap();
    }
    store.checkpoint().await.unwrap();
    for n in 11..=20 {
        store.commit(batch(n)).await.unwrap();
    }
    store.close().await.unwrap();
}

pub fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

pub fn line_start(bytes: &[u8], line: usize) -> usize {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    if line == 1 {
        0
    } else {
        ends.map(|(at, _)| at + 1).nth(line - 2).unwrap()
    }
}

/// Changes a letter in a line; lines count from 1.
pub fn damage(path: &Path, line: usize) {
    change(path, |bytes| {
        let at = line_start(bytes, line) + 60;
        bytes[at] ^= 1;
    });
}

pub async fn refusal(path: &Path) -> Error {
    match try_open(path).await {
        Err(error) => error,
        Ok(store) => {
            let error = store.prepare(&schema()).await.expect_err("it is refused");
            store.close().await.unwrap();
            error
        }
    }
}

pub async fn devices(path: &Path) -> u64 {
    let store = open(path).await;
    let count = store.view().await.unwrap().count("device", &Filter::All).await.unwrap();
    store.close().await.unwrap();
    count
}
