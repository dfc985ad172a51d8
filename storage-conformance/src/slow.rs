//! A store that takes longer to read than a view may be held.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fleet_core::{
    kernel::{ManualClock, Timestamp},
    store::{Backend, Error, Record, memory::MemoryStore},
};
use futures::{StreamExt as _, stream};
use tokio::time::sleep;

use crate::dsl::*;

/// Things besides those that are watched: several pages of an export.
const THINGS: u128 = 4_000;

/// Commits the same number to two documents and a row, again and again; returns the last.
async fn write(store: Arc<dyn Backend>, over: Arc<AtomicBool>) -> i64 {
    let mut number = 0;
    while !over.load(Ordering::SeqCst) {
        number += 1;
        let steps = [
            put("left").size(number),
            put("right").size(number),
            row("ledger", "s", number).level(number),
        ];
        store
            .commit(batch((1 << 64) + number.unsigned_abs() as u128, steps))
            .await
            .expect("a writer is not kept waiting");
        sleep(Duration::from_millis(2)).await;
    }
    number
}

fn member(body: &[u8], name: &str) -> i64 {
    let body: serde_json::Value = serde_json::from_slice(body).expect("bodies are JSON");
    body[name].as_i64().expect("a number")
}

/// Exports a new store, whose views may be held for `limit`, so slowly that it takes several times that long, while a writer
/// goes on. The export must come to its end and hold one state; a view that nobody renews must end.
pub async fn check_export_outlives_the_limit_of_views(store: Arc<dyn Backend>, limit: Duration) {
    store.prepare(&schema()).await.expect("a new store is prepared");
    for first in (0..THINGS).step_by(500) {
        let things = (first..first + 500).map(|n| put(&format!("t{n:04}")).name("x").size(1));
        store.commit(batch(first, things)).await.expect("things are taken");
    }
    let over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(store.clone(), over.clone()));
    while store.view().await.expect("a view").seq() < 20 {
        sleep(Duration::from_millis(5)).await;
    }

    let mut forgotten = store.view().await.expect("a view");
    let mut export = store.view().await.expect("a view").export();
    let mut records = Vec::new();
    while let Some(record) = export.next().await {
        records.push(record.expect("the export outlives the limit"));
        if records.len() % 1_000 == 0 {
            sleep(limit.mul_f32(0.6)).await;
        }
    }
    over.store(true, Ordering::SeqCst);
    let written = writer.await.expect("the writer ends well");

    let (mut pair, mut rows) = (Vec::new(), Vec::new());
    for record in &records {
        match record {
            Record::Doc(doc) if [id("left"), id("right")].contains(&doc.key.id) => pair.push(member(&doc.body, "size")),
            Record::Row("ledger", stored) => rows.push(member(&stored.row.body, "level")),
            _ => {}
        }
    }
    let shown = *rows.last().expect("rows were written");
    assert_eq!(pair, [shown, shown], "one state");
    assert_eq!(rows, (1..=shown).collect::<Vec<_>>());
    assert!(written > shown, "the writer went on: {written} and {shown}");
    // The digest is checked, and the chain.
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1)));
    let memory = MemoryStore::new(clock);
    memory.prepare(&schema()).await.expect("a new store is prepared");
    let into: &dyn Backend = &memory;
    let records = records.into_iter().map(Ok);
    into.import(origin(1), stream::iter(records).boxed())
        .await
        .expect("the export is whole");

    let ended = |error: Option<Error>| matches!(error, Some(Error::Unavailable(_)));
    assert!(
        ended(forgotten.records(None, 1).await.err()),
        "a view that nobody renews ends"
    );
    assert!(ended(forgotten.renew().await.err()), "and cannot be had back");
}
