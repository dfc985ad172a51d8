//! Trying again what did not succeed.

use serde_json::json;

use super::{approvals::user, *};
use crate::{
    access::{DENIED, Role},
    devices::testing::fails,
    work::{
        batch::{BatchRetry, KEY_REUSED, NOTHING_TO_RETRY, RUN_NOT_ENDED},
        rollouts::NewRollout,
        run::RUN_NOT_FOUND,
    },
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

/// Work that so many have to agree to as it is asked for, and so many as settings want.
async fn needing(asked: u32, settings: u32) -> (Work, BatchView) {
    let work = Work::new().await;
    if settings > 0 {
        work.set("work.approvals_for", json!("everything")).await;
        work.set("work.approvals_needed", json!(settings)).await;
    }
    let request = BatchRequest {
        approvals: Some(asked),
        ..work.request("reboot")
    };
    let batches = work.test.fleet.batches();
    let batch = batches.create(&user(&work, 1, Role::Operator), &request, None).await;
    (work, batch.unwrap())
}

/// Tries again all that has ended, however.
async fn try_all_again(work: &Work, batch: BatchId) -> BatchView {
    let states = State::ALL.into_iter().filter(|state| state.is_terminal()).collect();
    let batches = work.test.fleet.batches();
    let retry = BatchRetry { states };
    batches.retry(&work.test.admin(), batch, &retry, None).await.unwrap()
}

async fn needed_by(work: &Work, batch: &BatchView) -> u32 {
    let Some(approval) = batch.approval else { return 0 };
    let approvals = work.test.fleet.approvals();
    approvals.show(&work.test.admin(), approval).await.unwrap().needed
}

#[tokio::test]
async fn what_was_refused_or_expired_begins_by_no_retry_either() {
    for refused in [true, false] {
        let (work, batch) = needing(1, 0).await;
        if refused {
            let other = user(&work, 2, Role::Operator);
            work.reject(&other, batch.approval.unwrap()).await.unwrap();
        } else {
            work.advance(86_401);
            work.sweep().await;
        }
        let again = try_all_again(&work, batch.id).await;
        assert_eq!(work.states_of(again.id).await, ["awaiting_approval 1"]);
        let run = work.only_run_of(batch.id).await.id;
        let batches = work.test.fleet.batches();
        let alone = batches.retry_run(&work.test.admin(), run, None).await.unwrap();
        assert_eq!(work.states_of(alone.id).await, ["awaiting_approval 1"]);
        assert!(work.pending(1).await.offers.is_empty());
    }
}

#[tokio::test]
async fn a_retry_needs_as_many_as_before_or_as_settings_want_by_now() {
    for (asked, settings_before, settings_now, needed) in
        [(0, 0, 0, 0), (2, 0, 0, 2), (2, 0, 1, 2), (1, 0, 3, 3), (0, 2, 1, 2)]
    {
        let (work, batch) = needing(asked, settings_before).await;
        work.set(
            "work.approvals_for",
            json!(if settings_now > 0 { "everything" } else { "nothing" }),
        )
        .await;
        if settings_now > 0 {
            work.set("work.approvals_needed", json!(settings_now)).await;
        }
        let batches = work.test.fleet.batches();
        batches.cancel(&work.test.admin(), batch.id).await.unwrap();
        let again = try_all_again(&work, batch.id).await;
        let case = format!("{asked} {settings_before} {settings_now}");
        assert_eq!(needed_by(&work, &again).await, needed, "{case}");
        // A retry of a retry forgets it no more than the first.
        batches.cancel(&work.test.admin(), again.id).await.unwrap();
        let third = try_all_again(&work, again.id).await;
        assert_eq!(needed_by(&work, &third).await, needed, "{case}");
    }
}

#[tokio::test]
async fn one_run_is_done_again_alone_however_it_ended() {
    let ended = Ended::new().await;
    let batches = ended.work.test.fleet.batches();
    let admin = ended.work.test.admin();
    for place in 0..4 {
        let device = ended.devices[place];
        let run = ended.work.run_on(ended.batch, device).await.id;
        let again = batches.retry_run(&admin, run, None).await.unwrap();
        assert_eq!(again.retry_of, Some(ended.batch));
        assert_eq!(ended.devices_of(again.id).await, [device]);
        assert_eq!(ended.work.only_run_of(again.id).await.timeout_seconds, 77);
    }
}

#[tokio::test]
async fn only_a_run_that_has_ended_on_a_device_that_is_there_is_done_again() {
    let work = Work::new().await;
    let (batches, admin) = (work.test.fleet.batches(), work.test.admin());
    for state in [State::Queued, State::Offered, State::Accepted, State::Running] {
        let run = work.run_in(state).await;
        fails(batches.retry_run(&admin, run, None).await, RUN_NOT_ENDED);
        work.test.fleet.runs().cancel(&admin, run).await.unwrap();
        if state != State::Queued {
            let cancelled = work.finished(run, RunResult::Cancelled);
            work.test
                .fleet
                .delivery()
                .finished(work.device, cancelled)
                .await
                .unwrap();
        }
    }
    let run = work.run_in(State::Succeeded).await;
    let viewer = user(&work, 3, Role::Viewer);
    fails(batches.retry_run(&viewer, run, None).await, DENIED);
    work.test
        .fleet
        .devices()
        .delete(&admin, work.device, None)
        .await
        .unwrap();
    fails(batches.retry_run(&admin, run, None).await, NOTHING_TO_RETRY);
    let nobody = RunId::new(work.now(), &crate::kernel::SeededRandom::new(1));
    fails(batches.retry_run(&admin, nobody, None).await, RUN_NOT_FOUND);
}

#[tokio::test]
async fn one_run_of_a_rollout_goes_at_once_and_a_key_asks_once() {
    let work = Work::new().await;
    let request = BatchRequest {
        rollout: Some(NewRollout::default()),
        ..work.request("exit 3")
    };
    let batch = work.create(&request).await.unwrap().id;
    let (batches, admin) = (work.test.fleet.batches(), work.test.admin());
    batches.cancel(&admin, batch).await.unwrap();
    let run = work.only_run_of(batch).await.id;
    let key = Some(BatchId::new(work.now(), &crate::kernel::SeededRandom::new(9)));
    let again = batches.retry_run(&admin, run, key).await.unwrap();
    assert!(!again.rolls_out);
    assert_eq!(work.states_of(again.id).await, ["queued 1"]);
    assert_eq!(batches.retry_run(&admin, run, key).await.unwrap().id, again.id);
    let other = batches
        .retry(
            &admin,
            batch,
            &BatchRetry {
                states: vec![State::Cancelled],
            },
            key,
        )
        .await;
    fails(other, KEY_REUSED);
}
