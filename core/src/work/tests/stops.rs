//! Stopping a whole batch.

use super::*;
use crate::{
    access::Role,
    devices::testing::fails,
    work::batch::{BATCH_NOT_FOUND, cancel_open, expand_stalled},
};

impl Work {
    async fn stop(&self, batch: BatchId) -> BatchView {
        let batches = self.test.fleet.batches();
        batches.cancel(&self.test.admin(), batch).await.unwrap()
    }

    async fn for_many(&self, count: usize) -> BatchRequest {
        let devices = self.test.devices(count).await;
        self.advance(1);
        BatchRequest {
            targets: Targets::devices(devices),
            confirm_devices: Some(count as u64),
            ..self.request("true")
        }
    }
}

#[tokio::test]
async fn what_waits_ends_at_once_and_what_a_device_has_hears_of_it() {
    let work = Work::new().await;
    let mut request = work.for_many(3).await;
    request.targets.devices.push(work.device);
    let batch = work.create(&request).await.unwrap().id;
    let with_device = work.pending(1).await.offers[0].body.run;
    work.advance(1);
    let audited = work.test.actions().await.len();
    let shown = work.stop(batch).await;
    assert_eq!(shown.cancelled_at, Some(work.now()));
    assert_eq!(work.states_of(batch).await, ["cancelled 3", "offered 1"]);
    assert_eq!(work.test.actions().await[audited..], ["batch.cancel"]);
    assert_eq!(work.pending(1).await.cancels, [with_device]);
    // Again changes nothing.
    work.advance(1);
    work.stop(batch).await;
    assert_eq!(work.test.actions().await.len(), audited + 1);
    let finished = work.finished(with_device, RunResult::Cancelled);
    work.test
        .fleet
        .delivery()
        .finished(work.device, finished)
        .await
        .unwrap();
    assert_eq!(work.states_of(batch).await, ["cancelled 4"]);
}

#[tokio::test]
async fn a_batch_that_has_ended_stays_as_it_is() {
    let work = Work::new().await;
    let run = work.run_in(State::Succeeded).await;
    let batch = work.show(run).await.batch.unwrap();
    let audited = work.test.actions().await.len();
    assert_eq!(work.stop(batch).await.cancelled_at, None);
    assert_eq!(work.test.actions().await.len(), audited);
}

#[tokio::test]
async fn runs_of_many_devices_are_stopped_in_steps() {
    let work = Work::new().await;
    let request = work.for_many(1_100).await;
    let batch = work.create(&request).await.unwrap().id;
    work.stop(batch).await;
    assert_eq!(work.states_of(batch).await, ["cancelled 1100"]);
    let stored = work
        .test
        .fleet
        .store()
        .get::<crate::work::Batch>(batch)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((stored.cancelling_since, stored.release_at), (None, None));
}

#[tokio::test]
async fn runs_that_are_made_after_the_stop_are_made_cancelled() {
    let work = Work::new().await;
    let request = work.for_many(1_100).await;
    let key = BatchId::new(work.now(), &crate::kernel::SeededRandom::new(5));
    let batches = work.test.fleet.batches();
    // Whoever asked is gone as soon as the batch is there.
    drop(batches.begin(&work.test.admin(), &request, Some(key)).await.unwrap());
    work.stop(key).await;
    assert_eq!(work.states_of(key).await, ["cancelled 512"]);
    work.advance(61);
    expand_stalled(work.test.fleet.clone()).await.unwrap();
    cancel_open(work.test.fleet.clone()).await.unwrap();
    assert_eq!(work.states_of(key).await, ["cancelled 1100"]);
    let stored = work
        .test
        .fleet
        .store()
        .get::<crate::work::Batch>(key)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stored.cancelling_since, None);
    assert!(
        work.test
            .fleet
            .batches()
            .show(&work.test.admin(), key)
            .await
            .unwrap()
            .finished
    );
}

#[tokio::test]
async fn only_who_may_stops_a_batch_that_is_there() {
    let work = Work::new().await;
    let batch = work.create(&work.request("true")).await.unwrap().id;
    let batches = work.test.fleet.batches();
    fails(
        batches.cancel(&work.test.role(Role::Viewer), batch).await,
        crate::access::DENIED,
    );
    let stranger = BatchId::new(work.now(), &crate::kernel::SeededRandom::new(6));
    fails(batches.cancel(&work.test.admin(), stranger).await, BATCH_NOT_FOUND);
}

#[tokio::test]
async fn all_of_a_device_is_stopped_and_other_devices_go_on() {
    let work = Work::new().await;
    let runs = work.test.fleet.runs();
    let admin = work.test.admin();
    let mut request = work.for_many(2).await;
    request.targets.devices.push(work.device);
    let batch = work.create(&request).await.unwrap().id;
    let with_device = work.pending(1).await.offers[0].body.run;
    // What waits for its time, and what has ended.
    let later = BatchRequest {
        start_at: Some(work.now().plus(Duration::from_secs(3_600))),
        ..work.request("true")
    };
    let later = work.create(&later).await.unwrap().id;
    work.advance(1);
    let audited = work.test.actions().await.len();
    let stopped = runs.cancel_all_of(&admin, work.device).await.unwrap();
    assert_eq!(stopped.runs, 2);
    assert_eq!(work.test.actions().await[audited..], ["device.runs.cancel"]);
    assert_eq!(work.states_of(batch).await, ["offered 1", "queued 2"]);
    assert_eq!(work.states_of(later).await, ["cancelled 1"]);
    assert_eq!(work.pending(1).await.cancels, [with_device]);
    let withdrawn = work.moves(work.only_run_of(later).await.id).await;
    assert!(withdrawn.last().unwrap().contains("cancelled"), "{withdrawn:?}");
    // Again changes nothing, and leaves no row.
    assert_eq!(runs.cancel_all_of(&admin, work.device).await.unwrap().runs, 0);
    assert_eq!(work.test.actions().await.len(), audited + 1);
}

#[tokio::test]
async fn more_runs_of_a_device_than_a_page_holds_are_all_stopped() {
    let work = Work::new().await;
    let (runs, admin) = (work.test.fleet.runs(), work.test.admin());
    let many = crate::kernel::MAX_LIMIT + 3;
    for _ in 0..many {
        work.create(&work.request("true")).await.unwrap();
    }
    assert_eq!(runs.cancel_all_of(&admin, work.device).await.unwrap().runs, many as u64);
    let filter = RunFilter {
        states: vec![State::Cancelled],
        ..RunFilter::default()
    };
    assert_eq!(runs.count(&admin, &filter).await.unwrap(), many as u64);
}

#[tokio::test]
async fn who_may_not_stop_runs_stops_none_of_a_device_and_an_unknown_device_has_none() {
    let work = Work::new().await;
    let runs = work.test.fleet.runs();
    let viewer = work.test.role(Role::Viewer);
    let refused = runs.cancel_all_of(&viewer, work.device).await;
    fails(refused, crate::access::DENIED);
    let unknown: DeviceId = crate::kernel::EntityId::from_uuid(uuid::Uuid::from_u128(7));
    let refused = runs.cancel_all_of(&work.test.admin(), unknown).await;
    fails(refused, crate::devices::device::DEVICE_NOT_FOUND);
}
