//! One group is on its way to the disk and the next is decided upon it: nobody sees either before it is there, and when the
//! first does not arrive, nothing of the second was ever said or written.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{path::Path, sync::Arc, time::Duration};

use common::{
    batch, device,
    disk::{Disk, Fault, Luck},
    id, schema,
};
use fleet_core::{
    kernel::{ManualClock, Timestamp},
    store::{
        Backend as _, Batch, Committed, Error, Expect, Filter, Key, Latest, Move, Phase, Relocate as _, Result, Write,
    },
};
use fleet_storage_json::{JsonOptions, JsonStore};
use tokio::task::JoinHandle;

/// More than the writer waits for while a group is on its way.
const MANY: u128 = 200;

fn root() -> &'static Path {
    Path::new("/data/json")
}

async fn opened(disk: &Disk) -> JsonStore {
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000_000)));
    let options = JsonOptions {
        linger: Duration::ZERO,
        ..JsonOptions::default()
    };
    JsonStore::open_on(Arc::new(disk.clone()), root(), options, clock)
        .await
        .unwrap()
}

async fn open(disk: &Disk) -> JsonStore {
    let store = opened(disk).await;
    store.prepare(&schema()).await.unwrap();
    store
}

fn commit(store: &JsonStore, batch: Batch) -> JoinHandle<Result<Committed>> {
    let store = store.clone();
    tokio::spawn(async move { store.commit(batch).await })
}

/// The batch of a number, if nobody has its device yet.
fn once(n: u128) -> Batch {
    let mut batch = batch(n);
    for write in &mut batch.writes {
        if let Write::Put { expect, .. } = write {
            *expect = Expect::Absent;
        }
    }
    batch
}

/// The same under another id: refused once the device is there.
fn again(n: u128) -> Batch {
    Batch {
        id: id(0xc000_0000 + n),
        ..once(n)
    }
}

async fn has(store: &JsonStore, n: u128) -> bool {
    store.view().await.unwrap().get(&[device(n)]).await.unwrap()[0].is_some()
}

/// A store in which 1 is on the disk, 2 is written and not synchronised, and many more are decided upon that: new ones, and ones
/// that 2 stands in the way of.
struct Between {
    disk: Disk,
    store: JsonStore,
    second: JoinHandle<Result<Committed>>,
    fresh: Vec<JoinHandle<Result<Committed>>>,
    refused: Vec<JoinHandle<Result<Committed>>>,
}

async fn between() -> Between {
    let disk = Disk::default();
    let store = open(&disk).await;
    store.commit(once(1)).await.unwrap();
    disk.hold();
    let second = commit(&store, once(2));
    let waits = disk.clone();
    tokio::task::spawn_blocking(move || waits.held()).await.unwrap();
    let before = store.statistics().decided;
    let fresh = (3..3 + MANY).map(|n| commit(&store, once(n))).collect();
    let refused = (0..MANY)
        .map(|n| {
            commit(
                &store,
                Batch {
                    id: id(0xd000_0000 + n),
                    ..again(2)
                },
            )
        })
        .collect();
    while store.statistics().decided < before + 10 {
        tokio::task::yield_now().await;
    }
    Between {
        disk,
        store,
        second,
        fresh,
        refused,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn between_write_and_synchronisation_readers_see_the_old_state() {
    let Between {
        disk,
        store,
        second,
        fresh,
        refused,
    } = between().await;
    assert!(has(&store, 1).await && !has(&store, 2).await && !has(&store, 3).await);
    assert_eq!(store.view().await.unwrap().seq(), 1);
    let answered = |task: &JoinHandle<_>| task.is_finished();
    assert!(!answered(&second) && !fresh.iter().chain(&refused).any(answered));
    disk.release();
    assert_eq!(second.await.unwrap().unwrap().seq, 2);
    // What was decided meanwhile stands in the order in which it came.
    for (task, seq) in fresh.into_iter().zip(3..) {
        let committed = task.await.unwrap().unwrap();
        assert!(
            committed.seq >= 3 && committed.seq < 3 + MANY as u64,
            "{committed:?} for {seq}"
        );
    }
    for task in refused {
        assert!(matches!(task.await.unwrap(), Err(Error::Conflict { .. })));
    }
    store.close().await.unwrap();
    let store = open(&Disk::of(&disk.image(Luck::LOST, root()))).await;
    assert!(has(&store, 2).await && has(&store, 2 + MANY).await);
    assert_eq!(store.check().await.unwrap(), []);
    store.close().await.unwrap();
}

/// The group on its way fails so; says what is there afterwards.
async fn fails(fault: Fault, expected: fn(&Error) -> bool) {
    let Between {
        disk,
        store,
        second,
        fresh,
        refused,
    } = between().await;
    // The synchronisation that waits is the next operation.
    disk.fail(fault, disk.steps() + 1);
    disk.release();
    let error = second.await.unwrap().unwrap_err();
    assert!(expected(&error), "{error:?}");
    for task in fresh.into_iter().chain(refused) {
        // Not even a refusal holds: what it was judged by is not there.
        match task.await.unwrap() {
            Err(Error::Unavailable(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(disk.struck());
    assert!(has(&store, 1).await && !has(&store, 2).await && !has(&store, 3).await);
    assert_eq!(store.view().await.unwrap().seq(), 1);
    store.close().await.unwrap();
    for luck in Luck::all() {
        let store = open(&Disk::of(&disk.image(luck, root()))).await;
        let documents = store.view().await.unwrap().count("device", &Filter::All).await.unwrap();
        assert!(has(&store, 1).await && !has(&store, 3).await, "{luck:?}");
        assert_eq!(documents, 1 + u64::from(has(&store, 2).await), "{luck:?}");
        assert_eq!(store.check().await.unwrap(), [], "{luck:?}");
        store.commit(again(3)).await.unwrap();
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronisation_that_fails_takes_with_it_what_was_decided_upon_it() {
    fails(Fault::Sync, |error| matches!(error, Error::Unknown(_))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_takes_with_it_what_was_decided_upon_it() {
    fails(Fault::ReadOnly, |error| matches!(error, Error::Unknown(_))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_was_decided_upon_a_state_that_is_not_there() {
    let disk = Disk::default();
    let store = open(&disk).await;
    store.commit(once(1)).await.unwrap();
    // The write of the next group finds no room.
    disk.fail(Fault::Full, disk.steps() + 1);
    let stalled = tokio::task::block_in_place(|| {
        let stalled = disk.stall();
        let tasks: Vec<_> = (2..2 + MANY).map(|n| commit(&store, once(n))).collect();
        while store.statistics().decided < 20 {
            std::thread::yield_now();
        }
        drop(stalled);
        tasks
    });
    for task in stalled {
        match task.await.unwrap() {
            Err(Error::Unavailable(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.view().await.unwrap().seq(), 1);
    store.close().await.unwrap();
    for luck in Luck::all() {
        let store = open(&Disk::of(&disk.image(luck, root()))).await;
        let mut view = store.view().await.unwrap();
        assert_eq!(view.count("device", &Filter::All).await.unwrap(), 1, "{luck:?}");
        drop(view);
        assert_eq!(store.commit(once(2)).await.unwrap().seq, 2, "{luck:?}");
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_values_are_old_until_the_new_ones_are_there() {
    let disk = Disk::default();
    let store = open(&disk).await;
    let key = Key::new("state", id(1));
    let value = |level: &str| fleet_core::store::Ingest {
        latest: vec![Latest {
            key,
            body: level.to_owned().into(),
        }],
        rows: Vec::new(),
    };
    store.ingest(value("1")).await.unwrap();
    disk.hold();
    let task = tokio::spawn({
        let (store, next) = (store.clone(), value("2"));
        async move { store.ingest(next).await }
    });
    let waits = disk.clone();
    tokio::task::spawn_blocking(move || waits.held()).await.unwrap();
    let read = async || {
        store.view().await.unwrap().latest(&[key]).await.unwrap()[0]
            .clone()
            .unwrap()
    };
    assert_eq!(read().await, "1");
    disk.release();
    task.await.unwrap().unwrap();
    assert_eq!(read().await, "2");
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_a_store_is_for_is_known_before_it_is_prepared() {
    let to = Move {
        id: id(7),
        peer: "sqlite:elsewhere".into(),
        at: Timestamp::from_seconds(1),
    };
    let disk = Disk::default();
    let found = async || {
        let store = opened(&disk).await;
        let before = store.standing().await.unwrap();
        store.prepare(&schema()).await.unwrap();
        assert_eq!(
            store.standing().await.unwrap(),
            before,
            "it says the same when it is prepared"
        );
        (store, before)
    };
    let (store, standing) = found().await;
    assert_eq!((standing.phase, standing.origin), (Phase::Serving, None));
    store.fill(to.clone()).await.unwrap();
    store.close().await.unwrap();
    assert!(store.standing().await.is_err(), "a closed store says nothing");
    let (store, standing) = found().await;
    assert_eq!(standing.phase, Phase::Filling(to.clone()));
    assert_eq!(standing.origin, Some(to.clone()));
    store.clear().await.unwrap();
    store.close().await.unwrap();
    let (store, standing) = found().await;
    assert_eq!((standing.phase, standing.origin), (Phase::Serving, None));
    store.commit(once(1)).await.unwrap();
    store.freeze(to.clone()).await.unwrap();
    store.close().await.unwrap();
    let (store, standing) = found().await;
    assert_eq!(standing.phase, Phase::Frozen(to.clone()));
    // In the snapshot as in the journal.
    store.checkpoint().await.unwrap();
    store.close().await.unwrap();
    let (store, standing) = found().await;
    assert_eq!(standing.phase, Phase::Frozen(to));
    store.serve().await.unwrap();
    store.close().await.unwrap();
    let (store, standing) = found().await;
    assert_eq!(standing.phase, Phase::Serving);
    store.close().await.unwrap();
}
