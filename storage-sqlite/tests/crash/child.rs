//! What the children do, and how their work is looked at afterwards.

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use fleet_core::{
    kernel::SystemClock,
    store::{Backend as _, Direction, Error, Filter, Key, ReadRows, View},
};
use fleet_storage_sqlite::{SqliteOptions, SqliteStore, Synchronous};

use crate::common::{batch, device, id, ingest, open, schema};

/// Tasks that write at the same time.
pub const WRITERS: u128 = 16;

/// Says one line at once: what was said was acknowledged before.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let said = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    said.expect("the parent listens");
}

/// This program, to be run as a child.
pub fn program() -> PathBuf {
    std::env::current_exe().expect("a path")
}

/// This program in one of its modes, under a shell that says first what it wants of the system.
pub fn under_shell(before: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{before}; exec \"$0\" \"$@\"")])
        .arg(program())
        .args(arguments);
    command
}

/// Writes until it is killed. Each task has numbers of its own and goes up.
pub async fn write(file: &Path, first: u128) {
    let store = open(file).await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            for n in (first + writer..).step_by(WRITERS as usize + 1) {
                if n.is_multiple_of(2) {
                    let committed = store.commit(batch(n)).await.expect("the commit succeeds");
                    say(&format!("c {n} {}\n", committed.seq));
                } else {
                    store.ingest(ingest(n, 9)).await.expect("the ingest succeeds");
                    say(&format!("i {n} 0\n"));
                }
            }
        });
    }
    tasks.join_all().await;
}

async fn open_as(file: &Path, synchronous: &str) -> SqliteStore {
    let options = SqliteOptions {
        synchronous: match synchronous {
            "full" => Synchronous::Full,
            _ => Synchronous::Normal,
        },
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(file, options, Arc::new(SystemClock))
        .await
        .expect("the store opens");
    store.prepare(&schema()).await.expect("the schema is prepared");
    store
}

/// Commits one batch after the other, and says so after each.
pub async fn steady(file: &Path, synchronous: &str) {
    let store = open_as(file, synchronous).await;
    for n in 1..=40 {
        store.commit(batch(n)).await.expect("the commit succeeds");
        say(&format!("acknowledged {n}\n"));
    }
    store.close().await.expect("it closes");
}

/// The same, several at a time.
pub async fn crowd(file: &Path, synchronous: &str) {
    let store = open_as(file, synchronous).await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            for n in (1 + writer..=96).step_by(8) {
                store.commit(batch(n)).await.expect("the commit succeeds");
                say(&format!("acknowledged {n}\n"));
            }
        });
    }
    tasks.join_all().await;
    store.close().await.expect("it closes");
}

/// Commits one batch after the other, at most so many, and goes on after failures until there were three.
pub async fn fill(file: &Path, most: u128) {
    let store = match SqliteStore::open(file, SqliteOptions::default(), Arc::new(SystemClock)).await {
        Ok(store) => store,
        Err(error) => return refused(&error),
    };
    if let Err(error) = store.prepare(&schema()).await {
        return refused(&error);
    }
    let mut failed = 0;
    for n in 1..=most {
        match store.commit(batch(n)).await {
            Ok(_) => say(&format!("c {n} 0\n")),
            Err(error @ (Error::Unknown(_) | Error::Unavailable(_))) => {
                let certainly = if error.certainly_not_written() {
                    "certainly"
                } else {
                    "unknown"
                };
                say(&format!("f {n} {certainly}\n"));
                failed += 1;
            }
            Err(other) => panic!("a disk that fails is no reason for {other:?}"),
        }
        if failed == 3 {
            break;
        }
    }
    // Reading goes on, or says that it cannot.
    match store.view().await {
        Ok(mut view) => drop(view.get(&[device(1)]).await),
        Err(error) => assert!(matches!(error, Error::Unavailable(_)), "{error:?}"),
    }
    drop(store.close().await);
    say("end\n");
}

fn refused(error: &Error) {
    assert!(
        matches!(error, Error::Unknown(_) | Error::Unavailable(_)),
        "a disk that fails is no reason for {error:?}"
    );
    say(&format!("refused {error}\nend\n"));
}

/// What is there: each batch as a whole, and nothing is damaged. Returns the numbers of the commits.
pub async fn whole(file: &Path, most: u128) -> BTreeSet<u128> {
    let store = open(file).await;
    let mut view = store.view().await.expect("a view");
    let mut there = BTreeSet::new();
    for n in 1..=most {
        let found = view.get(&[device(n)]).await.expect("it can be read")[0].is_some();
        let halves = [
            rows(&mut *view, "audit", n).await == 1,
            rows(&mut *view, "sample", n).await == 1,
        ];
        assert_eq!(halves, [found; 2], "commit {n} is there by half");
        if found {
            there.insert(n);
        }
    }
    let documents = view.count("device", &Filter::All).await.expect("it can be counted");
    let head = view.chain_head("audit").await.expect("it can be read");
    assert_eq!(
        head.map_or(0, |link| link.number),
        documents,
        "a batch is there by half"
    );
    assert_eq!(view.seq(), documents);
    drop(view);
    assert_eq!(store.check().await.expect("a check"), []);
    store.close().await.expect("it closes");
    there
}

/// Everything acknowledged is there, each batch as a whole, and nothing is damaged.
pub async fn check(file: &Path, commits: &BTreeSet<u128>, ingests: &BTreeSet<u128>) {
    let store = open(file).await;
    let mut view = store.view().await.expect("a view");
    for n in commits {
        let found = view.get(&[device(*n)]).await.expect("it can be read");
        assert!(found[0].is_some(), "commit {n} was acknowledged and is lost");
        assert_eq!(rows(&mut *view, "audit", *n).await, 1, "commit {n} is there by half");
    }
    for n in ingests {
        let found = view.latest(&[Key::new("state", id(*n))]).await.expect("it can be read");
        assert!(found[0].is_some(), "ingest {n} was acknowledged and is lost");
        assert_eq!(rows(&mut *view, "sample", *n).await, 1, "ingest {n} is there by half");
    }
    let documents = view.count("device", &Filter::All).await.expect("it can be counted");
    let head = view.chain_head("audit").await.expect("it can be read");
    assert_eq!(
        head.map_or(0, |link| link.number),
        documents,
        "a batch is there by half"
    );
    assert_eq!(view.seq(), documents);
    drop(view);
    assert_eq!(store.check().await.expect("a check"), []);
    store.close().await.expect("it closes");
}

async fn rows(view: &mut dyn View, lane: &'static str, stream: u128) -> usize {
    let read = ReadRows {
        lane,
        stream: Some(id(stream)),
        filter: Filter::All,
        from: None,
        to: None,
        direction: Direction::Ascending,
        after: None,
        limit: 10,
    };
    view.rows(&read).await.expect("it can be read").rows.len()
}
