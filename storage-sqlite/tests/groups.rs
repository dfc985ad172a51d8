//! The writer: who shares a transaction with whom.

#![allow(clippy::unwrap_used, reason = "what a test stands on must not fail")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Folder, batch, id, ingest, schema};
use fleet_core::{
    kernel::SystemClock,
    store::{Backend as _, Batch, Direction, Error, Expect, Filter, Ingest, Key, ReadRows, Write},
};
use fleet_storage_sqlite::{SqliteOptions, SqliteStore};
use futures::future::join_all;

async fn open(folder: &Folder, options: SqliteOptions) -> SqliteStore {
    let store = SqliteStore::open(folder.file(), options, Arc::new(SystemClock)).await;
    let store = store.expect("the store opens");
    store.prepare(&schema()).await.expect("the schema is prepared");
    store
}

/// A wait that ends only when something else ends it.
fn patient() -> SqliteOptions {
    SqliteOptions {
        linger: Duration::from_secs(3_600),
        ..SqliteOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commits_share_transactions() {
    let folder = Folder::new();
    let store = open(&folder, SqliteOptions::default()).await;
    // On one task: all of them are queued before the writer has answered the first.
    let answers = join_all((1..=500).map(|n| store.commit(batch(n)))).await;
    let mut places: Vec<u64> = answers.into_iter().map(|answer| answer.unwrap().seq).collect();
    places.sort_unstable();
    assert_eq!(places, (1..=500).collect::<Vec<_>>());
    let statistics = store.statistics();
    assert_eq!(statistics.works, 500);
    assert!(statistics.transactions <= 50, "{statistics:?}");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ingests_wait_for_company_until_they_are_enough() {
    let folder = Folder::new();
    let options = SqliteOptions {
        linger_items: 64,
        ..patient()
    };
    let store = open(&folder, options).await;
    // Two items each.
    for answer in join_all((1..=32).map(|n| store.ingest(ingest(n, 1)))).await {
        answer.unwrap();
    }
    assert_eq!(store.statistics().transactions, 1);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_takes_waiting_ingests_with_it_and_does_not_wait_itself() {
    let folder = Folder::new();
    let store = open(&folder, patient()).await;
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { join_all((1..=5).map(|n| store.ingest(ingest(n, 1)))).await })
    };
    store.commit(batch(9)).await.unwrap();
    // Those that came later go with the next one.
    let mut n = 10;
    while !waiting.is_finished() {
        store.commit(batch(n)).await.unwrap();
        n += 1;
    }
    assert!(waiting.await.unwrap().into_iter().all(|answer| answer.is_ok()));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_finishes_what_waits() {
    let folder = Folder::new();
    let store = open(&folder, patient()).await;
    let (answer, closed) = tokio::join!(store.ingest(ingest(1, 1)), store.close());
    closed.unwrap();
    answer.unwrap();
    let error = store.commit(batch(1)).await.expect_err("it is closed");
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    let again = open(&folder, SqliteOptions::default()).await;
    let mut view = again.view().await.unwrap();
    assert!(view.latest(&[Key::new("state", id(1))]).await.unwrap()[0].is_some());
    drop(view);
    again.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_batch_in_a_group_takes_nobody_with_it() {
    let folder = Folder::new();
    let store = open(&folder, SqliteOptions::default()).await;
    let conflicting = |n: u128| Batch {
        writes: vec![Write::Check {
            key: common::device(n),
            expect: Expect::Rev(99),
        }],
        ..batch(1_000 + n)
    };
    let all = (1..=60).map(|n| store.commit(if n % 3 == 0 { conflicting(n) } else { batch(n) }));
    let answers = join_all(all).await;
    for (n, answer) in (1..=60).zip(answers) {
        assert_eq!(answer.is_err_and(|error| error.is_conflict()), n % 3 == 0, "{n}");
    }
    assert_eq!(store.view().await.unwrap().seq(), 40);
    assert_eq!(store.check().await.unwrap(), []);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_goes_away_leaves_all_of_a_write_or_none() {
    let folder = Folder::new();
    let store = open(&folder, SqliteOptions::default()).await;
    for n in 1..=100 {
        // Polled once: it may be queued already, or not.
        let mut commit = Box::pin(store.commit(batch(n)));
        let _ = futures::poll!(&mut commit);
        drop(commit);
    }
    store.commit(batch(500)).await.unwrap();
    let mut view = store.view().await.unwrap();
    let documents = view.count("device", &Filter::All).await.unwrap();
    let read = ReadRows {
        lane: "audit",
        stream: None,
        filter: Filter::All,
        from: None,
        to: None,
        direction: Direction::Ascending,
        after: None,
        limit: 1_000,
    };
    assert_eq!(view.rows(&read).await.unwrap().rows.len() as u64, documents);
    drop(view);
    assert_eq!(store.check().await.unwrap(), []);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_ingest_is_answered_without_the_writer() {
    let folder = Folder::new();
    let store = open(&folder, patient()).await;
    store.ingest(Ingest::default()).await.unwrap();
    assert_eq!(store.statistics().transactions, 0);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_held_too_long_ends_and_frees_its_connection() {
    let folder = Folder::new();
    let options = SqliteOptions {
        readers: 1,
        view_limit: Duration::from_millis(50),
        ..SqliteOptions::default()
    };
    let store = open(&folder, options).await;
    let mut held = store.view().await.unwrap();
    // There is one connection only: this waits until the first view has ended.
    let mut next = store.view().await.unwrap();
    assert_eq!(next.count("device", &Filter::All).await.unwrap(), 0);
    let error = held.count("device", &Filter::All).await.expect_err("it has ended");
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    drop((held, next));
    store.close().await.unwrap();
}
