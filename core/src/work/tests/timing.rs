//! Work that begins later.

use super::*;
use crate::{devices::testing::fails, work::batch::release_due};

impl Work {
    async fn create_for(&self, start_in: i64) -> Result<BatchView> {
        let start = Timestamp::from_micros(self.now().as_micros() + start_in * 1_000_000);
        let request = BatchRequest {
            start_at: Some(start),
            ..self.request("true")
        };
        self.create(&request).await
    }

    async fn release(&self) {
        release_due(self.test.fleet.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn a_run_waits_for_its_time_and_for_its_device_from_then_on() {
    let work = Work::new().await;
    let batch = work.create_for(3_600).await.unwrap();
    assert_eq!(work.states_of(batch.id).await, ["scheduled 1"]);
    assert!(work.pending(1).await.offers.is_empty());
    work.advance(3_599);
    work.release().await;
    assert_eq!(work.states_of(batch.id).await, ["scheduled 1"]);
    work.advance(1);
    work.release().await;
    assert_eq!(work.states_of(batch.id).await, ["queued 1"]);
    let run = work.only_run_of(batch.id).await;
    assert_eq!(work.moves(run.id).await, ["scheduled>queued"]);
    assert_eq!(run.expires_at, work.now().plus(HOUR));
    assert_eq!(work.pending(1).await.offers.len(), 1);
    let actions = work.test.actions().await;
    assert_eq!(actions.last().map(String::as_str), Some("batch.release"));
    // It is done once.
    let audited = actions.len();
    work.release().await;
    assert_eq!(work.test.actions().await.len(), audited);
}

#[tokio::test]
async fn a_run_that_is_stopped_before_its_time_never_begins() {
    let work = Work::new().await;
    let batch = work.create_for(60).await.unwrap().id;
    work.test
        .fleet
        .batches()
        .cancel(&work.test.admin(), batch)
        .await
        .unwrap();
    work.advance(61);
    work.release().await;
    assert_eq!(work.states_of(batch).await, ["cancelled 1"]);
}

#[tokio::test]
async fn a_server_that_was_down_at_that_time_lets_go_what_has_not_expired() {
    for (late, state) in [(3_599, "queued 1"), (3_601, "expired 1")] {
        let work = Work::new().await;
        let batch = work.create_for(60).await.unwrap().id;
        work.advance(60 + late);
        work.sweep().await;
        work.release().await;
        assert_eq!(work.states_of(batch).await, [state]);
    }
}

#[tokio::test]
async fn runs_of_many_devices_are_let_go_in_steps() {
    let work = Work::new().await;
    let devices = work.test.devices(1_100).await;
    let request = BatchRequest {
        targets: Targets::devices(devices),
        start_at: Some(work.now().plus(HOUR)),
        ..work.request("true")
    };
    let batch = work.create(&request).await.unwrap().id;
    work.advance(3_600);
    work.release().await;
    assert_eq!(work.states_of(batch).await, ["queued 1100"]);
}

#[tokio::test]
async fn a_time_that_has_passed_or_is_too_far_is_refused_and_a_slow_clock_is_not() {
    let work = Work::new().await;
    fails(work.create_for(-3_600).await, crate::kernel::INVALID);
    fails(work.create_for(367 * 86_400).await, crate::kernel::INVALID);
    let batch = work.create_for(-10).await.unwrap();
    assert_eq!(
        (batch.start_at, work.states_of(batch.id).await),
        (None, vec!["queued 1".to_owned()])
    );
}
