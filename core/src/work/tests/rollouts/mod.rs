//! Work that goes from wave to wave.

mod halting;
mod holding;
mod ringing;

use serde_json::json;

use super::*;
use crate::{
    access::{Actor, Context, Origin, Role},
    devices::{
        DeviceBeat, DeviceGroupId,
        groups::{GROUP_NOT_FOUND, NewDeviceGroup},
        testing::fails,
    },
    kernel::{EntityId as _, MAX_LIMIT},
    work::{
        RolloutView,
        approvals::Comment,
        batch::{BatchRetry, KEY_REUSED, cancel_open, release_due},
        operations::agent_update,
        plans::start_due,
        rollouts::{
            NewRollout, Phase, ROLLOUT_NOT_FOUND, ROLLOUT_OVER, RolloutAbort, RolloutFilter, RolloutOrder, advance_due,
        },
        windows::{NewWindow, WindowId},
    },
};

/// A fleet with devices and one rollout over all of them.
pub(super) struct Rolling {
    pub(super) work: Work,
    devices: Vec<DeviceId>,
    batch: BatchId,
}

impl Rolling {
    /// A shell script on so many devices, which are all connected.
    async fn new(devices: usize, rollout: serde_json::Value) -> Self {
        Self::of(devices, rollout, |_, _| {}).await
    }

    async fn of(count: usize, rollout: serde_json::Value, change: impl FnOnce(&mut BatchRequest, &Work)) -> Self {
        let work = Work::new().await;
        let devices = work.test.devices(count).await;
        for device in &devices {
            beat(&work, *device, "1.0.0").await;
        }
        let mut request = BatchRequest {
            targets: Targets::devices(devices.clone()),
            rollout: Some(serde_json::from_value(rollout).unwrap()),
            ..work.request("true")
        };
        change(&mut request, &work);
        let batch = work.create(&request).await.unwrap();
        assert!(batch.rolls_out);
        Self {
            batch: batch.id,
            work,
            devices,
        }
    }

    async fn shown(&self) -> RolloutView {
        let rollouts = self.work.test.fleet.rollouts();
        rollouts.show(&self.work.test.admin(), self.batch).await.unwrap()
    }

    async fn tick(&self) {
        advance_due(self.work.test.fleet.clone()).await.unwrap();
    }

    /// A beat of each device after so many seconds, and what follows.
    async fn pass(&self, seconds: u64) {
        self.work.advance(seconds);
        for device in &self.devices {
            beat(&self.work, *device, "1.0.0").await;
        }
        self.tick().await;
    }

    async fn runs_in(&self, state: State) -> Vec<RunView> {
        let filter = RunFilter {
            batch: Some(self.batch),
            states: vec![state],
            ..RunFilter::default()
        };
        let page = PageRequest::new(Some(MAX_LIMIT), None).unwrap();
        let runs = self.work.test.fleet.runs();
        runs.list(&self.work.test.admin(), &filter, &page).await.unwrap().items
    }

    async fn begin(&self, run: &RunView) {
        let delivery = self.work.test.fleet.delivery();
        let pending = delivery.pending(run.device, 1, &self.work.dispatch).await.unwrap();
        assert_eq!(pending.offers.len(), 1, "it is offered");
        delivery.accepted(run.device, run.id).await.unwrap();
        delivery.started(run.device, run.id, self.work.now()).await.unwrap();
    }

    /// What is queued is done: the first so many fail, the others succeed. Who had it.
    async fn work_off(&self, fail: usize) -> Vec<DeviceId> {
        let runs = self.runs_in(State::Queued).await;
        for (place, run) in runs.iter().enumerate() {
            self.begin(run).await;
            let result = if place < fail {
                RunResult::Failed
            } else {
                RunResult::Succeeded
            };
            let finished = self.work.finished(run.id, result);
            let delivery = self.work.test.fleet.delivery();
            delivery.finished(run.device, finished).await.unwrap();
        }
        self.tick().await;
        runs.iter().map(|run| run.device).collect()
    }

    async fn resume(&self) -> RolloutView {
        let rollouts = self.work.test.fleet.rollouts();
        rollouts.resume(&self.work.test.admin(), self.batch).await.unwrap()
    }

    async fn pause(&self) -> RolloutView {
        let rollouts = self.work.test.fleet.rollouts();
        rollouts.pause(&self.work.test.admin(), self.batch).await.unwrap()
    }

    async fn abort(&self, stop_running: bool) -> RolloutView {
        let rollouts = self.work.test.fleet.rollouts();
        let how = RolloutAbort { stop_running };
        rollouts.abort(&self.work.test.admin(), self.batch, &how).await.unwrap()
    }

    /// A blackout of all devices from now on, so long.
    async fn freeze(&self, seconds: u64) -> WindowId {
        let (from, to) = (self.work.now(), self.work.now().plus(Duration::from_secs(seconds)));
        let times = json!({"type": "once", "starts_at": from, "ends_at": to});
        let new = json!({"name": "freeze", "kind": "blackout", "scope": {"all": true}, "when": times});
        let new: NewWindow = serde_json::from_value(new).unwrap();
        let windows = self.work.test.fleet.windows();
        windows.create(&self.work.test.admin(), &new).await.unwrap().id
    }

    async fn check(&self, phase: &str, wave: u32, states: &[&str]) {
        let shown = self.shown().await;
        assert_eq!((shown.phase.name(), shown.wave), (phase, wave), "{}", shown.in_words);
        assert_eq!(self.work.states_of(self.batch).await, states, "{}", shown.in_words);
    }
}

async fn beat(work: &Work, device: DeviceId, agent_version: &str) {
    let beat = DeviceBeat {
        agent_version: agent_version.into(),
        ..DeviceBeat::default()
    };
    work.test.fleet.presence().beat(device, beat).await.unwrap();
}

async fn group_of(work: &Work, members: &[DeviceId]) -> DeviceGroupId {
    let (groups, admin) = (work.test.fleet.device_groups(), work.test.admin());
    let new = NewDeviceGroup {
        name: "canaries".into(),
        ..NewDeviceGroup::default()
    };
    let group = groups.create(&admin, &new).await.unwrap().id;
    groups.add_members(&admin, group, members).await.unwrap();
    group
}

fn waves() -> serde_json::Value {
    json!({"waves": [{"type": "count", "devices": 1}, {"type": "percent", "percent": 30}]})
}

#[tokio::test]
async fn each_wave_begins_when_the_one_before_is_over() {
    let it = Rolling::new(10, waves()).await;
    it.check("rolling", 1, &["queued 1", "scheduled 9"]).await;
    it.tick().await;
    it.check("rolling", 1, &["queued 1", "scheduled 9"]).await;
    let shown = it.shown().await;
    assert_eq!(
        shown.in_words,
        "wave 1 of 3: 1 of 1 devices have had their turn; 0 of 10 runs of all waves have ended"
    );
    let mut all = it.work_off(0).await;
    it.check("rolling", 2, &["queued 3", "scheduled 6", "succeeded 1"])
        .await;
    all.extend(it.work_off(0).await);
    it.check("rolling", 3, &["queued 6", "succeeded 4"]).await;
    all.extend(it.work_off(0).await);
    it.check("done", 3, &["succeeded 10"]).await;
    all.sort_unstable();
    let mut devices = it.devices.clone();
    devices.sort_unstable();
    assert_eq!(all, devices, "each had it once");
    let actions = it.work.test.actions().await;
    let told = actions.iter().filter(|action| *action == "rollout.advance");
    assert_eq!(told.count(), 4, "its beginning, two waves more, and its end");
    let store = it.work.test.fleet.store();
    assert!(store.get::<RolloutOrder>(it.batch).await.unwrap().is_none());
}

#[tokio::test]
async fn where_nothing_is_to_be_done_nothing_is_written() {
    let it = Rolling::new(10, waves()).await;
    let before = it.work.test.seq().await;
    for _ in 0..3 {
        it.tick().await;
    }
    assert_eq!(it.work.test.seq().await, before);
}

#[tokio::test]
async fn a_group_goes_first() {
    let work = Work::new().await;
    let devices = work.test.devices(6).await;
    let group = group_of(&work, &devices[2..4]).await;
    let rollout = |group: DeviceGroupId| NewRollout {
        waves: serde_json::from_value(json!([{"type": "groups", "groups": [group]}])).unwrap(),
        ..NewRollout::default()
    };
    let request = |group| BatchRequest {
        targets: Targets::devices(devices.clone()),
        rollout: Some(rollout(group)),
        ..work.request("true")
    };
    let unknown = DeviceGroupId::from_uuid(uuid::Uuid::from_u128(7));
    fails(work.create(&request(unknown)).await, GROUP_NOT_FOUND);
    let batch = work.create(&request(group)).await.unwrap().id;
    let it = Rolling { work, devices, batch };
    let mut first = it.work_off(0).await;
    first.sort_unstable();
    let mut group = it.devices[2..4].to_vec();
    group.sort_unstable();
    assert_eq!(first, group);
    it.check("rolling", 2, &["queued 4", "succeeded 2"]).await;
}

#[tokio::test]
async fn no_more_runs_are_under_way_than_may_be() {
    let it = Rolling::new(10, json!({"max_parallel": 4})).await;
    it.check("rolling", 1, &["queued 4", "scheduled 6"]).await;
    let first = it.runs_in(State::Queued).await.remove(0);
    it.begin(&first).await;
    it.tick().await;
    it.check("rolling", 1, &["queued 3", "running 1", "scheduled 6"]).await;
    let finished = it.work.finished(first.id, RunResult::Succeeded);
    it.work
        .test
        .fleet
        .delivery()
        .finished(first.device, finished)
        .await
        .unwrap();
    it.tick().await;
    it.check("rolling", 1, &["queued 4", "scheduled 5", "succeeded 1"])
        .await;
}

#[tokio::test]
async fn a_server_that_is_started_anew_and_one_beside_it_do_nothing_twice() {
    let it = Rolling::new(600, waves()).await;
    it.work_off(0).await;
    let (one, other) = (it.work.test.restarted().await, it.work.test.restarted().await);
    for run in it.runs_in(State::Queued).await {
        it.begin(&run).await;
        let done = it.work.finished(run.id, RunResult::Succeeded);
        it.work.test.fleet.delivery().finished(run.device, done).await.unwrap();
    }
    let (first, second) = futures::join!(advance_due(one.fleet.clone()), advance_due(other.fleet.clone()));
    first.and(second).unwrap();
    it.tick().await;
    it.check("rolling", 3, &["queued 419", "succeeded 181"]).await;
    let run = it.runs_in(State::Queued).await.remove(0);
    assert_eq!(it.work.moves(run.id).await, ["scheduled>queued"]);
}

#[tokio::test]
async fn a_wave_of_thousands_is_a_few_commits() {
    let work = Work::new().await;
    let devices = work.test.devices(10_000).await;
    let request = BatchRequest {
        targets: Targets::devices(devices.clone()),
        rollout: Some(serde_json::from_value(json!({"waves": [{"type": "count", "devices": 1}]})).unwrap()),
        ..work.request("true")
    };
    let batch = work.create(&request).await.unwrap().id;
    let it = Rolling { work, devices, batch };
    let run = it.runs_in(State::Queued).await.remove(0);
    it.begin(&run).await;
    let done = it.work.finished(run.id, RunResult::Succeeded);
    it.work.test.fleet.delivery().finished(run.device, done).await.unwrap();
    let before = it.work.test.seq().await;
    it.tick().await;
    let commits = it.work.test.seq().await - before;
    it.check("rolling", 2, &["queued 9999", "succeeded 1"]).await;
    assert_eq!(commits, 21, "one says that the wave begins, and each lets 500 go");
}

#[tokio::test]
async fn a_plan_goes_from_wave_to_wave_each_time_and_so_does_what_is_tried_again() {
    let work = Work::new().await;
    let devices = work.test.devices(4).await;
    let new = serde_json::from_value(json!({
        "name": "Rings", "operation": "shell", "params": {"script": "true"}, "targets": {"devices": devices},
        "rollout": {"waves": [{"type": "count", "devices": 1}], "max_failures": {"type": "count", "failures": 0}},
        "schedule": {"type": "cron", "cron": "0 * * * *", "zone": "UTC"},
    }));
    let (fleet, admin) = (&work.test.fleet, work.test.admin());
    let plan = fleet.plans().create(&admin, &new.unwrap()).await.unwrap();
    assert_eq!(plan.rollout.as_ref().unwrap().waves.len(), 1);
    work.advance(3_600);
    start_due(fleet.clone()).await.unwrap();
    let page = PageRequest::default();
    let open = RolloutFilter { open: true };
    let listed = fleet.rollouts().list(&admin, &open, &page).await.unwrap().items;
    let batch = listed[0].batch;
    let mut it = Rolling { work, devices, batch };
    it.check("rolling", 1, &["queued 1", "scheduled 3"]).await;
    it.work_off(1).await;
    assert_eq!(it.shown().await.phase.name(), "halted");
    it.abort(false).await;
    let (fleet, admin) = (&it.work.test.fleet, it.work.test.admin());
    assert!(
        fleet
            .rollouts()
            .list(&admin, &open, &page)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let all = RolloutFilter::default();
    assert_eq!(fleet.rollouts().list(&admin, &all, &page).await.unwrap().items.len(), 1);
    let states = vec![State::Failed, State::Cancelled];
    let again = fleet
        .batches()
        .retry(&admin, batch, &BatchRetry { states }, None)
        .await
        .unwrap();
    it.batch = again.id;
    it.check("rolling", 1, &["queued 1", "scheduled 3"]).await;
    let (fleet, admin) = (&it.work.test.fleet, it.work.test.admin());
    let change = serde_json::from_value(json!({"rollout": null})).unwrap();
    let plan = fleet.plans().set(&admin, plan.id, None, &change).await.unwrap();
    assert_eq!(plan.rollout, None);
}

#[tokio::test]
async fn how_it_rolls_out_is_part_of_what_was_asked_for() {
    let work = Work::new().await;
    let (fleet, admin) = (&work.test.fleet, work.test.admin());
    let key = Some(BatchId::from_uuid(uuid::Uuid::from_u128(5)));
    let request = BatchRequest {
        rollout: Some(NewRollout::default()),
        ..work.request("true")
    };
    let made = fleet.batches().create(&admin, &request, key).await.unwrap();
    assert_eq!(fleet.batches().create(&admin, &request, key).await.unwrap().id, made.id);
    fails(
        fleet.batches().create(&admin, &work.request("true"), key).await,
        KEY_REUSED,
    );
    let plain = work.create(&work.request("true")).await.unwrap();
    fails(fleet.rollouts().show(&admin, plain.id).await, ROLLOUT_NOT_FOUND);
}
