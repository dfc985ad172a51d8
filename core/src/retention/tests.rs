//! Retention over the memory backend, by the jobs that the fleet has.

use std::time::Duration;

use futures::StreamExt as _;
use serde_json::json;

use crate::{
    devices::{DeviceEvent, testing::TestFleet},
    kernel::PageRequest,
    store::{Error, Ingest, LaneQuery},
};

const DAY: u64 = 86_400;

async fn tick(test: &TestFleet, name: &str) {
    let job = test.fleet.jobs().iter().find(|job| job.name == name).unwrap();
    (job.tick)(test.fleet.clone()).await.unwrap();
}

/// Events of each day for a year, then a trim: how many are left.
async fn check_left(setting: Option<u32>, expected: usize) {
    let test = TestFleet::new().await;
    if let Some(days) = setting {
        let settings = test.fleet.settings();
        let name = "retention.device_event_days";
        settings.set(&test.admin(), name, &json!(days), None).await.unwrap();
    }
    let start = test.fleet.clock().now();
    for day in 0..365 {
        let at = start.plus(Duration::from_secs(day * DAY));
        let mut ingest = Ingest::default();
        let event = DeviceEvent::new(None, "device.tested", at);
        ingest.append(uuid::Uuid::nil(), at, 0, &event).unwrap();
        test.fleet.store().ingest(ingest).await.unwrap();
    }
    test.clock.advance(Duration::from_secs(364 * DAY));
    tick(&test, "retention.trim").await;
    let mut reader = test.fleet.store().reader().await.unwrap();
    let page = PageRequest::new(Some(500), None).unwrap();
    let left = reader
        .rows(&LaneQuery::<DeviceEvent>::newest_first(), &page)
        .await
        .unwrap();
    assert_eq!(left.items.len(), expected, "kept for {setting:?} days");
}

#[tokio::test]
async fn rows_go_when_their_days_are_over() {
    check_left(None, 181).await;
    check_left(Some(10), 11).await;
    check_left(Some(0), 365).await;
}

#[tokio::test]
async fn feed_and_batch_ids_go_after_a_week_and_what_is_newer_can_be_followed() {
    let test = TestFleet::new().await;
    let settings = test.fleet.settings();
    let store = test.fleet.store();
    let first = store.reader().await.unwrap().seq();
    for hour in 0..200_u64 {
        let days = json!(hour + 1);
        let name = "retention.run_event_days";
        settings.set(&test.admin(), name, &days, None).await.unwrap();
        tick(&test, "retention.forget").await;
        test.clock.advance(Duration::from_secs(3_600));
    }
    let forgotten = store.changes(first).await.unwrap().next().await.unwrap();
    assert!(
        matches!(forgotten, Err(Error::Compacted(seq)) if seq > first),
        "{forgotten:?}"
    );
    let newest = store.reader().await.unwrap().seq();
    let mut changes = store.changes(newest - 168).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap().seq, newest - 167);
}
