//! Work that goes from wave to wave.

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
        windows::NewWindow,
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
async fn too_many_failures_halt_it_and_are_forgiven_when_it_goes_on() {
    for (limit, waves, borne) in [
        (
            json!({"type": "count", "failures": 1}),
            json!([{"type": "count", "devices": 5}]),
            1,
        ),
        (
            json!({"type": "percent", "percent": 20}),
            json!([{"type": "count", "devices": 5}]),
            1,
        ),
        (
            json!({"type": "percent", "percent": 39}),
            json!([{"type": "count", "devices": 5}]),
            1,
        ),
        (
            json!({"type": "percent", "percent": 40}),
            json!([{"type": "count", "devices": 5}]),
            2,
        ),
    ] {
        for failed in [borne, borne + 1] {
            let it = Rolling::new(10, json!({"waves": waves, "max_failures": limit})).await;
            it.work_off(failed).await;
            if failed == borne {
                assert_eq!(
                    (it.shown().await.phase, it.shown().await.wave),
                    (Phase::Rolling, 2),
                    "{limit}"
                );
                continue;
            }
            let halted = it.shown().await;
            assert_eq!((halted.phase.name(), halted.wave), ("halted", 1), "{limit}");
            let first = &halted.failures[0];
            assert_eq!((halted.failures.len(), first.state), (failed, State::Failed));
            assert!(
                halted.in_words.contains(&format!("{} (failed)", first.device_name)),
                "{}",
                halted.in_words
            );
            it.tick().await;
            assert_eq!(it.shown().await.phase.name(), "halted");
            let gone_on = it.resume().await;
            assert_eq!(
                (gone_on.phase.name(), gone_on.wave),
                ("rolling", 2),
                "{}",
                gone_on.in_words
            );
        }
    }
}

#[tokio::test]
async fn what_was_let_go_waits_while_it_is_halted() {
    let it = Rolling::new(3, json!({"max_failures": {"type": "count", "failures": 0}})).await;
    let runs = it.runs_in(State::Queued).await;
    it.begin(&runs[0]).await;
    let failed = it.work.finished(runs[0].id, RunResult::Failed);
    it.work
        .test
        .fleet
        .delivery()
        .finished(runs[0].device, failed)
        .await
        .unwrap();
    it.tick().await;
    it.check("halted", 1, &["failed 1", "queued 2"]).await;
    let offered = |run: RunView| {
        let (fleet, dispatch) = (&it.work.test.fleet, &it.work.dispatch);
        async move {
            fleet
                .delivery()
                .pending(run.device, 1, dispatch)
                .await
                .unwrap()
                .offers
                .len()
        }
    };
    assert_eq!(offered(runs[1].clone()).await, 0);
    // However long that takes, nothing expires meanwhile.
    it.work.advance(2 * 3_600);
    it.work.sweep().await;
    it.resume().await;
    assert_eq!(offered(runs[1].clone()).await, 1);
    assert_eq!(it.work.show(runs[2].id).await.expires_at, it.work.now().plus(HOUR));
}

#[tokio::test]
async fn a_wave_of_which_nothing_succeeds_halts_it_whatever_is_borne() {
    let it = Rolling::new(10, waves()).await;
    it.work_off(1).await;
    let halted = it.shown().await;
    assert!(
        halted
            .in_words
            .starts_with("halted in wave 1 of 3: no run of this wave succeeded: "),
        "{}",
        halted.in_words
    );
    it.resume().await;
    it.check("rolling", 2, &["failed 1", "queued 3", "scheduled 6"]).await;
}

#[tokio::test]
async fn a_run_that_nobody_came_for_is_a_failure_unless_offline_devices_are_passed_over() {
    let limit = json!({"type": "count", "failures": 0});
    let waves = json!([{"type": "count", "devices": 2}]);
    let it = Rolling::new(4, json!({"waves": waves, "max_failures": limit})).await;
    let first = it.runs_in(State::Queued).await.remove(0);
    it.begin(&first).await;
    it.work.advance(10);
    let done = it.work.finished(first.id, RunResult::Succeeded);
    it.work
        .test
        .fleet
        .delivery()
        .finished(first.device, done)
        .await
        .unwrap();
    it.tick().await;
    it.check("rolling", 1, &["queued 1", "scheduled 2", "succeeded 1"])
        .await;
    it.work.advance(3_600);
    it.work.sweep().await;
    it.tick().await;
    it.check("halted", 1, &["expired 1", "scheduled 2", "succeeded 1"])
        .await;

    let it = Rolling::new(
        4,
        json!({"waves": waves, "max_failures": limit, "ignore_offline": true, "max_parallel": 2}),
    )
    .await;
    let [first, silent]: [RunView; 2] = it.runs_in(State::Queued).await.try_into().unwrap();
    it.begin(&first).await;
    let done = it.work.finished(first.id, RunResult::Succeeded);
    it.work
        .test
        .fleet
        .delivery()
        .finished(first.device, done)
        .await
        .unwrap();
    it.tick().await;
    it.check("rolling", 1, &["queued 1", "scheduled 2", "succeeded 1"])
        .await;
    // The other one falls silent: it keeps its run, and nobody waits for it.
    for _ in 0..12 {
        it.work.advance(10);
        for device in it.devices.iter().filter(|device| **device != silent.device) {
            beat(&it.work, *device, "1.0.0").await;
        }
        it.work.test.fleet.presence().sweep().await.unwrap();
    }
    it.tick().await;
    it.check("rolling", 2, &["queued 3", "succeeded 1"]).await;
    it.work.advance(3_600);
    it.work.sweep().await;
    it.tick().await;
    assert_eq!(it.shown().await.failed, 0);
}

#[tokio::test]
async fn devices_have_to_be_well_after_their_wave() {
    let asked = json!({"waves": [{"type": "count", "devices": 2}], "watch_seconds": 90});
    for (is_silent, phase, wave) in [(false, "rolling", 2), (true, "halted", 1)] {
        let it = Rolling::new(6, asked.clone()).await;
        let first = it.work_off(0).await;
        it.check("watching", 1, &["scheduled 4", "succeeded 2"]).await;
        for _ in 0..9 {
            it.work.advance(10);
            for device in it.devices.iter().filter(|device| !is_silent || **device != first[0]) {
                beat(&it.work, *device, "1.0.0").await;
            }
            it.work.test.fleet.presence().sweep().await.unwrap();
            assert_eq!(it.shown().await.phase.name(), "watching");
            it.tick().await;
        }
        let shown = it.shown().await;
        assert_eq!((shown.phase.name(), shown.wave), (phase, wave), "{}", shown.in_words);
        if is_silent {
            let words = "halted in wave 1 of 2: one device is not well 90 seconds after the wave: ";
            assert!(shown.in_words.starts_with(words), "{}", shown.in_words);
            assert!(shown.in_words.ends_with("(not connected)"), "{}", shown.in_words);
            // Whoever lets it go on bears that, and is not asked to wait once more.
            let gone_on = it.resume().await;
            assert_eq!((gone_on.phase.name(), gone_on.wave, gone_on.unwell), ("rolling", 2, 1));
        }
    }
}

#[tokio::test]
async fn an_agent_that_was_updated_has_to_be_the_version_that_was_meant() {
    for (becomes, phase) in [("1.1.0", "rolling"), ("1.0.0", "halted")] {
        let asked = json!({"waves": [{"type": "count", "devices": 1}], "watch_seconds": 60});
        let it = Rolling::of(3, asked, |request, _| {
            request.operation = agent_update::NAME.into();
            request.params = json!({"version": "1.1.0"});
        })
        .await;
        let first = it.work_off(0).await;
        it.work.advance(60);
        beat(&it.work, first[0], becomes).await;
        it.tick().await;
        let shown = it.shown().await;
        assert_eq!(shown.phase.name(), phase, "{}", shown.in_words);
        assert_eq!(
            shown.in_words.ends_with("(its agent is 1.0.0, not 1.1.0)"),
            becomes == "1.0.0",
            "{}",
            shown.in_words
        );
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_make_it_watch_for_as_long() {
    let it = Rolling::new(
        4,
        json!({"waves": [{"type": "count", "devices": 1}], "watch_seconds": 60}),
    )
    .await;
    it.work_off(0).await;
    it.work.test.set_back(86_400);
    it.tick().await;
    it.pass(59).await;
    assert_eq!(it.shown().await.phase.name(), "watching");
    it.pass(1).await;
    it.check("rolling", 2, &["queued 3", "succeeded 1"]).await;
}

#[tokio::test]
async fn the_next_wave_waits_for_somebody_where_that_was_asked_for() {
    let it = Rolling::new(4, json!({"waves": [{"type": "count", "devices": 1}], "by_hand": true})).await;
    it.work_off(0).await;
    it.tick().await;
    it.check("waiting", 1, &["scheduled 3", "succeeded 1"]).await;
    it.resume().await;
    it.check("rolling", 2, &["queued 3", "succeeded 1"]).await;
    it.resume().await;
    it.check("rolling", 2, &["queued 3", "succeeded 1"]).await;
}

#[tokio::test]
async fn what_is_held_is_not_offered_and_goes_on_as_it_was() {
    let it = Rolling::new(4, json!({"waves": [{"type": "count", "devices": 2}]})).await;
    let runs = it.runs_in(State::Queued).await;
    it.begin(&runs[0]).await;
    let paused = it.pause().await;
    assert_eq!(paused.in_words.split(';').next(), Some("held by anonymous"));
    let delivery = it.work.test.fleet.delivery();
    let pending = delivery.pending(runs[1].device, 1, &it.work.dispatch).await.unwrap();
    assert!(pending.offers.is_empty());
    assert!(it.work.show(runs[1].id).await.on_hold);
    // What a device has goes on.
    let done = it.work.finished(runs[0].id, RunResult::Succeeded);
    it.work
        .test
        .fleet
        .delivery()
        .finished(runs[0].device, done)
        .await
        .unwrap();
    it.work.advance(7_200);
    it.work.sweep().await;
    it.tick().await;
    let audited = it.work.test.actions().await.len();
    it.pause().await;
    assert_eq!(
        it.work.test.actions().await.len(),
        audited,
        "holding it again changes nothing"
    );
    it.check("rolling", 1, &["queued 1", "scheduled 2", "succeeded 1"])
        .await;
    it.resume().await;
    assert!(!it.work.show(runs[1].id).await.on_hold);
    assert_eq!(it.work_off(0).await, [runs[1].device]);
    it.check("rolling", 2, &["queued 2", "succeeded 2"]).await;
}

#[tokio::test]
async fn what_is_given_up_takes_back_what_had_not_begun() {
    for (stops, states) in [
        (false, ["cancelled 3", "running 1"].as_slice()),
        (true, &["cancelled 3", "running 1"]),
    ] {
        let it = Rolling::new(4, json!({"waves": [{"type": "count", "devices": 2}]})).await;
        let runs = it.runs_in(State::Queued).await;
        it.begin(&runs[0]).await;
        it.abort(stops).await;
        it.check("aborted", 1, states).await;
        let cancels = it.work.show(runs[0].id).await.cancel_requested_at.is_some();
        assert_eq!(cancels, stops, "what runs is stopped only where that is asked for");
        let admin = it.work.test.admin();
        let rollouts = it.work.test.fleet.rollouts();
        fails(rollouts.resume(&admin, it.batch).await, ROLLOUT_OVER);
        fails(rollouts.pause(&admin, it.batch).await, ROLLOUT_OVER);
        let done = it.work.finished(runs[0].id, RunResult::Succeeded);
        it.work
            .test
            .fleet
            .delivery()
            .finished(runs[0].device, done)
            .await
            .unwrap();
        it.tick().await;
        it.check("aborted", 1, &["cancelled 3", "succeeded 1"]).await;
    }
}

#[tokio::test]
async fn stopping_the_batch_ends_its_rollout() {
    let it = Rolling::new(700, waves()).await;
    let batches = it.work.test.fleet.batches();
    batches.cancel(&it.work.test.admin(), it.batch).await.unwrap();
    cancel_open(it.work.test.fleet.clone()).await.unwrap();
    it.check("aborted", 1, &["cancelled 700"]).await;
    it.tick().await;
    it.check("aborted", 1, &["cancelled 700"]).await;
}

#[tokio::test]
async fn a_run_that_was_stopped_ahead_of_its_wave_is_passed_over() {
    let it = Rolling::new(
        4,
        json!({"waves": [{"type": "count", "devices": 2}], "max_failures": {"type": "count", "failures": 0}}),
    )
    .await;
    let later = it.runs_in(State::Scheduled).await.remove(0);
    let runs = it.work.test.fleet.runs();
    runs.cancel(&it.work.test.admin(), later.id).await.unwrap();
    let sooner = it.runs_in(State::Queued).await.remove(0);
    runs.cancel(&it.work.test.admin(), sooner.id).await.unwrap();
    it.tick().await;
    it.check("rolling", 1, &["cancelled 2", "queued 1", "scheduled 1"])
        .await;
    it.work_off(0).await;
    it.check("rolling", 2, &["cancelled 2", "queued 1", "succeeded 1"])
        .await;
    it.work_off(0).await;
    it.check("done", 2, &["cancelled 2", "succeeded 2"]).await;
}

#[tokio::test]
async fn nothing_begins_before_somebody_agrees_and_then_the_first_wave_does() {
    for later in [false, true] {
        let it = Rolling::of(700, waves(), |request, work| {
            request.approvals = Some(1);
            request.start_at = later.then(|| work.now().plus(HOUR * 48));
        })
        .await;
        it.check("pending", 1, &["awaiting_approval 700"]).await;
        let (fleet, admin) = (&it.work.test.fleet, it.work.test.admin());
        let shown = fleet.batches().show(&admin, it.batch).await.unwrap();
        it.work.advance(60);
        let grants = Role::Admin.grants(fleet.permissions());
        let other = Actor::User {
            id: uuid::Uuid::from_u128(9),
            name: "other".into(),
        };
        let other = Context::new(other, Origin::default(), std::sync::Arc::new(grants));
        let approval = shown.approval.unwrap();
        fleet
            .approvals()
            .approve(&other, approval, &Comment::default())
            .await
            .unwrap();
        it.tick().await;
        if later {
            it.check("pending", 1, &["scheduled 700"]).await;
            // Longer than anybody could have agreed.
            it.work.advance(48 * 3_600);
            it.work.sweep().await;
            it.tick().await;
        }
        it.check("rolling", 1, &["queued 1", "scheduled 699"]).await;
    }
}

#[tokio::test]
async fn what_nobody_agreed_to_in_time_is_over() {
    let it = Rolling::of(3, waves(), |request, _| request.approvals = Some(1)).await;
    it.work.advance(86_401);
    it.work.sweep().await;
    it.tick().await;
    it.check("aborted", 1, &["expired 3"]).await;
}

#[tokio::test]
async fn windows_hold_within_a_wave_and_no_more_begin_than_may_when_they_open() {
    let it = Rolling::of(
        6,
        json!({"waves": [{"type": "count", "devices": 5}], "max_parallel": 2}),
        |request, _| {
            request.ignore_windows = Some(false);
        },
    )
    .await;
    it.check("rolling", 1, &["queued 2", "scheduled 4"]).await;
    let windows = it.work.test.fleet.windows();
    let times = json!({"type": "once", "starts_at": it.work.now(), "ends_at": it.work.now().plus(HOUR * 3)});
    let new: NewWindow =
        serde_json::from_value(json!({"name": "freeze", "kind": "blackout", "scope": {"all": true}, "when": times}))
            .unwrap();
    let window = windows.create(&it.work.test.admin(), &new).await.unwrap();
    it.work_off(0).await;
    it.check("rolling", 1, &["scheduled 4", "succeeded 2"]).await;
    assert_eq!(it.shown().await.held, 3);
    it.work.advance(2 * 3_600);
    it.work.sweep().await;
    it.tick().await;
    it.check("rolling", 1, &["scheduled 4", "succeeded 2"]).await;
    windows.delete(&it.work.test.admin(), window.id, None).await.unwrap();
    it.tick().await;
    it.check("rolling", 1, &["queued 2", "scheduled 2", "succeeded 2"])
        .await;
    it.work_off(0).await;
    it.check("rolling", 1, &["queued 1", "scheduled 1", "succeeded 4"])
        .await;
    it.work_off(0).await;
    it.check("rolling", 2, &["queued 1", "succeeded 5"]).await;
}

#[tokio::test]
async fn what_is_spread_is_so_within_each_wave() {
    let it = Rolling::of(41, json!({"waves": [{"type": "count", "devices": 1}]}), |request, _| {
        request.spread_seconds = 3_600;
    })
    .await;
    it.pass(3_600).await;
    it.work_off(0).await;
    assert_eq!(it.shown().await.wave, 2);
    let mut begun = Vec::new();
    for _ in 0..=6 {
        it.tick().await;
        begun.push(it.runs_in(State::Queued).await.len());
        it.work.advance(600);
    }
    let steps: Vec<_> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().filter(|step| **step > 0).count() >= 5, "{begun:?}");
    assert_eq!(begun.last(), Some(&40));
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

#[tokio::test]
async fn whoever_lets_it_go_on_may_do_the_work() {
    let it = Rolling::of(3, waves(), |request, _| {
        request.operation = agent_update::NAME.into();
        request.params = json!({});
    })
    .await;
    let rollouts = it.work.test.fleet.rollouts();
    let operator = it.work.test.role(Role::Operator);
    fails(
        rollouts.pause(&it.work.test.role(Role::Viewer), it.batch).await,
        crate::access::DENIED,
    );
    rollouts.pause(&operator, it.batch).await.unwrap();
    fails(rollouts.resume(&operator, it.batch).await, crate::access::DENIED);
    rollouts.resume(&it.work.test.admin(), it.batch).await.unwrap();
    release_due(it.work.test.fleet.clone()).await.unwrap();
}
