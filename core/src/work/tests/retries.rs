//! Trying again what did not succeed.

use super::*;
use crate::{
    devices::testing::fails,
    work::batch::{BatchRetry, KEY_REUSED, NOTHING_TO_RETRY},
};

/// Four devices, whose runs of one batch ended as: succeeded, failed, failed, cancelled.
struct Ended {
    work: Work,
    devices: Vec<DeviceId>,
    batch: BatchId,
}

impl Ended {
    async fn new() -> Self {
        let work = Work::new().await;
        let devices = work.test.devices(4).await;
        let request = BatchRequest {
            targets: Targets::devices(devices.clone()),
            timeout_seconds: Some(77),
            ..work.request("exit 3")
        };
        let batch = work.create(&request).await.unwrap().id;
        let results = [
            RunResult::Succeeded,
            RunResult::Failed,
            RunResult::Failed,
            RunResult::Cancelled,
        ];
        for (device, result) in devices.iter().zip(results) {
            let delivery = work.test.fleet.delivery();
            let offers = delivery.pending(*device, 1, &work.dispatch).await.unwrap().offers;
            let run = offers[0].body.run;
            delivery.finished(*device, work.finished(run, result)).await.unwrap();
        }
        work.advance(1);
        Self { work, devices, batch }
    }

    async fn retry(&self, states: &[State], key: Option<BatchId>) -> Result<BatchView> {
        let retry = BatchRetry {
            states: states.to_vec(),
        };
        let batches = self.work.test.fleet.batches();
        batches.retry(&self.work.test.admin(), self.batch, &retry, key).await
    }

    async fn devices_of(&self, batch: BatchId) -> Vec<DeviceId> {
        let filter = RunFilter {
            batch: Some(batch),
            ..RunFilter::default()
        };
        let runs = self.work.test.fleet.runs();
        let page = runs
            .list(&self.work.test.admin(), &filter, &PageRequest::default())
            .await
            .unwrap();
        let mut devices: Vec<_> = page.items.iter().map(|run| run.device).collect();
        devices.sort_unstable();
        devices
    }

    fn sorted(&self, places: &[usize]) -> Vec<DeviceId> {
        let mut devices: Vec<_> = places.iter().map(|place| self.devices[*place]).collect();
        devices.sort_unstable();
        devices
    }
}

#[tokio::test]
async fn what_failed_is_done_again_by_a_batch_of_its_own() {
    let ended = Ended::new().await;
    let audited = ended.work.test.actions().await.len();
    let again = ended.retry(&[], None).await.unwrap();
    assert_eq!(again.retry_of, Some(ended.batch));
    assert_eq!(again.params["script"], "exit 3");
    assert_eq!(ended.devices_of(again.id).await, ended.sorted(&[1, 2]));
    assert_eq!(ended.work.only_run_of(again.id).await.timeout_seconds, 77);
    assert_eq!(ended.work.test.actions().await[audited..], ["batch.retry"]);
    assert_eq!(
        ended.work.states_of(ended.batch).await,
        ["cancelled 1", "failed 2", "succeeded 1"],
        "what has ended stays"
    );
    let all = ended.retry(&[State::Cancelled, State::Succeeded], None).await.unwrap();
    assert_eq!(ended.devices_of(all.id).await, ended.sorted(&[0, 3]));
}

#[tokio::test]
async fn a_device_that_is_gone_is_left_out() {
    let ended = Ended::new().await;
    let devices = ended.work.test.fleet.devices();
    devices
        .delete(&ended.work.test.admin(), ended.devices[1], None)
        .await
        .unwrap();
    let again = ended.retry(&[], None).await.unwrap();
    assert_eq!(ended.devices_of(again.id).await, ended.sorted(&[2]));
    devices
        .delete(&ended.work.test.admin(), ended.devices[2], None)
        .await
        .unwrap();
    fails(ended.retry(&[], None).await, NOTHING_TO_RETRY);
    fails(ended.retry(&[State::Lost], None).await, NOTHING_TO_RETRY);
    fails(ended.retry(&[State::Running], None).await, crate::kernel::INVALID);
}

#[tokio::test]
async fn a_key_tries_again_once() {
    let ended = Ended::new().await;
    let key = Some(BatchId::new(ended.work.now(), &crate::kernel::SeededRandom::new(9)));
    let first = ended.retry(&[], key).await.unwrap();
    assert_eq!(ended.retry(&[], key).await.unwrap().id, first.id);
    fails(ended.retry(&[State::Cancelled], key).await, KEY_REUSED);
}
