//! Writers that go on whatever happens, and what has to hold afterwards.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fleet_core::store::{Backend as _, Direction, Error, Filter, Key, ReadRows, View};
use fleet_storage_postgres::PostgresStore;
use tokio::{sync::Mutex, task::JoinSet, time::sleep};

use crate::common::{batch, device, id, ingest};

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged(Arc<Mutex<(BTreeSet<u128>, BTreeSet<u128>)>>);

impl Acknowledged {
    pub async fn count(&self) -> usize {
        let told = self.0.lock().await;
        told.0.len() + told.1.len()
    }
}

/// Commits and ingests these numbers, each until it is acknowledged: what is unknown or was not written is sent again.
pub fn write(
    tasks: &mut JoinSet<()>,
    store: &PostgresStore,
    numbers: std::ops::Range<u128>,
    acknowledged: &Acknowledged,
) {
    const WRITERS: usize = 8;
    for writer in 0..WRITERS {
        let (store, acknowledged, numbers) = (store.clone(), acknowledged.clone(), numbers.clone());
        tasks.spawn(async move {
            for n in numbers.skip(writer).step_by(WRITERS) {
                while !attempt(&store, n).await {
                    sleep(Duration::from_millis(20)).await;
                }
                let mut told = acknowledged.0.lock().await;
                if n.is_multiple_of(3) {
                    told.1.insert(n);
                } else {
                    told.0.insert(n);
                }
            }
        });
    }
}

async fn attempt(store: &PostgresStore, n: u128) -> bool {
    let done = if n.is_multiple_of(3) {
        store.ingest(ingest(n, 9)).await
    } else {
        store.commit(batch(n)).await.map(drop)
    };
    match done {
        Ok(()) => true,
        Err(Error::Unavailable(_) | Error::Unknown(_)) => false,
        Err(other) => panic!("{n}: a connection that breaks is no reason for {other:?}"),
    }
}

/// Everything acknowledged is there, once, each batch as a whole, and nothing is damaged.
pub async fn check(store: &PostgresStore, acknowledged: &Acknowledged) {
    let told = acknowledged.0.lock().await;
    let mut view = store.view().await.unwrap();
    for n in &told.0 {
        let found = view.get(&[device(*n)]).await.unwrap();
        assert_eq!(found[0].as_ref().map(|doc| doc.rev), Some(1), "commit {n}");
        assert_eq!(rows(&mut *view, "audit", *n).await, 1, "commit {n} is there by half");
    }
    for n in &told.1 {
        let found = view.latest(&[Key::new("state", id(*n))]).await.unwrap();
        assert!(found[0].is_some(), "ingest {n} was acknowledged and is lost");
        assert_eq!(rows(&mut *view, "sample", *n).await, 1, "ingest {n} is there by half");
    }
    let documents = view.count("device", &Filter::All).await.unwrap();
    assert_eq!(documents, told.0.len() as u64);
    let head = view.chain_head("audit").await.unwrap();
    assert_eq!(
        head.map_or(0, |link| link.number),
        documents,
        "a batch is there by half"
    );
    assert_eq!(view.seq(), documents);
    drop(view);
    assert_eq!(store.check().await.unwrap(), []);
}

pub async fn rows(view: &mut dyn View, lane: &'static str, stream: u128) -> usize {
    let read = ReadRows {
        lane,
        stream: Some(id(stream)),
        filter: Filter::All,
        from: None,
        to: None,
        direction: Direction::Ascending,
        after: None,
        limit: 100,
    };
    view.rows(&read).await.unwrap().rows.len()
}

/// Whether the runner asked for the long mode.
pub fn long() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a test is told how long it may take")]
    let said = std::env::var("FLEET_TEST_LONG");
    said.is_ok()
}

/// A number from the environment.
pub fn knob(name: &str, default: u128) -> u128 {
    #[expect(clippy::disallowed_methods, reason = "who runs the tests decides how long they take")]
    let said = std::env::var(name);
    said.map_or(default, |text| text.parse().expect("the variable holds a number"))
}
