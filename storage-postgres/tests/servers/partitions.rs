//! Lanes by day.

use std::{sync::Arc, time::Duration};

use fleet_core::{
    kernel::{ManualClock, Timestamp},
    store::{Backend as _, Ingest},
};
use fleet_storage_postgres::{LeaseClock, PostgresOptions, PostgresStore};

use crate::{
    common::{Namespace, open_with, sample},
    load::rows,
};

const DAY: i64 = 86_400_000_000;

/// 2026-01-10, noon.
const NOON: Timestamp = Timestamp::from_seconds(1_768_046_400);

async fn store(namespace: &Namespace) -> PostgresStore {
    let options = PostgresOptions {
        lease_clock: LeaseClock::Given(Arc::new(ManualClock::new(NOON))),
        ..PostgresOptions::default()
    };
    open_with(&namespace.uri(), options).await
}

async fn partitions(namespace: &Namespace) -> Vec<String> {
    let text = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
                WHERE i.inhparent = '\"lane.sample\"'::regclass ORDER BY 1";
    namespace.ask(text).await
}

async fn put(store: &PostgresStore, ats: &[i64]) {
    let rows = ats.iter().map(|at| ("sample", sample(1, *at))).collect();
    let ingest = Ingest { latest: vec![], rows };
    store.ingest(ingest).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_days_are_dropped_and_the_day_of_the_boundary_is_trimmed_within() {
    let namespace = Namespace::new();
    let store = store(&namespace).await;
    let days = [
        "part.sample.2026-01-10",
        "part.sample.2026-01-11",
        "part.sample.2026-01-12",
        "part.sample.rest",
    ];
    assert_eq!(partitions(&namespace).await, days);
    let noon = NOON.as_micros();
    put(
        &store,
        &[
            noon - DAY,
            noon,
            noon + 1,
            noon + DAY,
            noon + DAY + 5,
            noon + 2 * DAY,
            i64::MIN,
            i64::MAX,
        ],
    )
    .await;
    // Held over the trim, a view shows what was there; the day goes in slices then.
    let mut held = store.view().await.unwrap();
    assert_eq!(rows(&mut *held, "sample", 1).await, 8);
    assert_eq!(store.trim("sample", noon).await.unwrap(), 2);
    assert_eq!(store.trim("sample", noon + DAY - DAY / 2).await.unwrap(), 2);
    assert_eq!(partitions(&namespace).await, days);
    assert_eq!(rows(&mut *held, "sample", 1).await, 8);
    drop(held);
    // Until the view has given its lock back, the partition stays.
    while partitions(&namespace).await.len() == 4 {
        store.trim("sample", noon + DAY - DAY / 2).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.trim("sample", noon + DAY + 5).await.unwrap(), 1);
    assert_eq!(partitions(&namespace).await, days[1..]);
    assert_eq!(rows(&mut *store.view().await.unwrap(), "sample", 1).await, 3);
    // What was dropped may come again, and goes where the rest is.
    put(&store, &[noon]).await;
    assert_eq!(rows(&mut *store.view().await.unwrap(), "sample", 1).await, 4);
    assert_eq!(store.check().await.unwrap(), []);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_day_is_counted_when_it_is_dropped() {
    let namespace = Namespace::new();
    let store = store(&namespace).await;
    let noon = NOON.as_micros();
    put(&store, &(0..100).map(|n| noon + n).collect::<Vec<_>>()).await;
    assert_eq!(store.trim("sample", noon + DAY).await.unwrap(), 100);
    assert_eq!(rows(&mut *store.view().await.unwrap(), "sample", 1).await, 0);
    store.close().await.unwrap();
}
