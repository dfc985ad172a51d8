//! Work that is kept as a plan, and done again and again.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    access::{Actor, Context, DENIED, Origin, Role},
    devices::testing::fails,
    kernel::{EntityId as _, PRECONDITION_FAILED},
    work::{
        PlanId, PlanView,
        approvals::APPROVAL_OWN,
        batch::{BatchFilter, Cause},
        plans::{NewPlan, PLAN_NAME_TAKEN, PLAN_NOT_FOUND, PlanChange, PlanOutcome, PlanService, start_due},
        schedule::{NewMissedRuns, NewSchedule},
    },
};

fn hourly() -> Option<NewSchedule> {
    Some(NewSchedule::Cron {
        cron: "0 * * * *".into(),
        zone: "UTC".into(),
    })
}

impl Work {
    fn new_plan(&self) -> NewPlan {
        NewPlan {
            name: "Hourly".into(),
            description: String::new(),
            enabled: true,
            operation: "shell".into(),
            params: json!({"script": "true"}).into(),
            targets: Targets::devices(vec![self.device]),
            timeout_seconds: None,
            expires_in_seconds: None,
            ignore_windows: true,
            approvals: 0,
            spread_seconds: 0,
            priority: crate::work::Priority::Normal,
            dry_run_first: false,
            retry: None,
            rollout: None,
            schedule: hourly(),
            missed: NewMissedRuns::Skip,
            confirm_devices: None,
        }
    }

    fn plans(&self) -> PlanService<'_> {
        self.test.fleet.plans()
    }

    /// A plan that is made on the full hour.
    async fn plan(&self, new: NewPlan) -> PlanView {
        self.to_the_hour();
        self.plans().create(&self.test.admin(), &new).await.unwrap()
    }

    fn to_the_hour(&self) {
        let over = self.now().as_seconds().rem_euclid(3_600);
        self.advance(u64::try_from(3_600 - over).unwrap());
    }

    async fn tick(&self) {
        start_due(self.test.fleet.clone()).await.unwrap();
    }

    async fn shown(&self, plan: PlanId) -> PlanView {
        self.plans().show(&self.test.admin(), plan).await.unwrap()
    }

    async fn change(&self, plan: PlanId, change: PlanChange) -> Result<PlanView> {
        self.plans().set(&self.test.admin(), plan, None, &change).await
    }

    async fn batches_of(&self, plan: PlanId) -> Vec<BatchView> {
        let filter = BatchFilter {
            plan: Some(plan),
            ..BatchFilter::default()
        };
        let batches = self.test.fleet.batches();
        let page = batches.list(&self.test.admin(), &filter, &PageRequest::default()).await;
        page.unwrap().items
    }

    /// Looks after plans each time so many seconds passed: how many batches there are then, and what became of the last time.
    async fn check(&self, plan: PlanId, looks: &[(u64, usize, &str)]) {
        for (after, batches, last) in looks {
            self.advance(*after);
            self.tick().await;
            let found = self.shown(plan).await.last.map_or("none", |last| match last.outcome {
                PlanOutcome::Started { .. } => "started",
                PlanOutcome::Missed => "missed",
                PlanOutcome::Refused { .. } => "refused",
            });
            assert_eq!(
                (self.batches_of(plan).await.len(), found),
                (*batches, *last),
                "after {after}"
            );
        }
    }
}

#[tokio::test]
async fn each_time_of_a_schedule_makes_one_batch() {
    let work = Work::new().await;
    let plan = work.plan(work.new_plan()).await;
    assert_eq!(plan.next_at, Some(work.now().plus(HOUR)));
    work.check(
        plan.id,
        &[
            (0, 0, "none"),
            (3_599, 0, "none"),
            (1, 1, "started"),
            (0, 1, "started"),
            (5, 1, "started"),
            (3_595, 2, "started"),
        ],
    )
    .await;
    let plan = work.shown(plan.id).await;
    let newest = work.batches_of(plan.id).await.remove(0);
    let last = plan.last.unwrap();
    assert_eq!((last.due_at, last.at, last.missed), (work.now(), work.now(), 0));
    assert_eq!(last.outcome, PlanOutcome::Started { batch: newest.id });
    assert_eq!((newest.cause, newest.plan), (Cause::Schedule, Some(plan.id)));
    // What a schedule does is no change of the plan.
    assert_eq!((plan.next_at, plan.revision), (Some(work.now().plus(HOUR)), 1));
}

#[tokio::test]
async fn a_run_waits_for_its_device_until_the_next_time_unless_the_plan_says_otherwise() {
    for (expires_in_seconds, waits) in [(None, 3_600), (Some(120), 120)] {
        let work = Work::new().await;
        let new = NewPlan {
            expires_in_seconds,
            ..work.new_plan()
        };
        let plan = work.plan(new).await;
        work.check(plan.id, &[(3_600, 1, "started")]).await;
        let batch = work.batches_of(plan.id).await.remove(0).id;
        let run = work.only_run_of(batch).await;
        assert_eq!(run.expires_at, work.now().plus(Duration::from_secs(waits)));
    }
}

#[tokio::test]
async fn times_that_nobody_looked_at_are_missed_or_made_up_for_once() {
    let made_up = NewMissedRuns::RunOnce { within_seconds: 1_800 };
    for (missed, late, batches, last) in [
        (NewMissedRuns::Skip, 299, 1, "started"),
        (NewMissedRuns::Skip, 301, 0, "missed"),
        (made_up, 1_799, 1, "started"),
        (made_up, 1_801, 0, "missed"),
    ] {
        let work = Work::new().await;
        let new = NewPlan {
            missed,
            ..work.new_plan()
        };
        let plan = work.plan(new).await;
        // The server was down for three of its times.
        work.check(plan.id, &[(3 * 3_600 + late, batches, last)]).await;
        let shown = work.shown(plan.id).await;
        let counted = 3 - u32::try_from(batches).unwrap();
        assert_eq!(shown.last.unwrap().missed, counted);
        // It goes on as if nothing had been.
        work.to_the_hour();
        work.check(plan.id, &[(0, batches + 1, "started")]).await;
    }
}

#[tokio::test]
async fn devices_are_looked_for_each_time_and_no_device_is_no_work() {
    let labelled = Targets {
        labels: vec!["nightly".into()],
        ..Targets::default()
    };
    let described = Targets {
        query: Some("labels.nightly exists".into()),
        ..Targets::default()
    };
    for targets in [labelled, described] {
        let work = Work::new().await;
        let new = NewPlan {
            targets,
            ..work.new_plan()
        };
        let plan = work.plan(new).await;
        work.check(plan.id, &[(3_600, 0, "refused")]).await;
        let PlanOutcome::Refused { code, .. } = work.shown(plan.id).await.last.unwrap().outcome else {
            panic!("it is refused");
        };
        assert_eq!(code, "batch.no_targets");
        let actions = work.test.actions().await;
        assert_eq!(actions.last().map(String::as_str), Some("plan.miss"));
        let labels = [("nightly".to_owned(), String::new())].into();
        let devices = work.test.fleet.devices();
        devices
            .set_labels(&work.test.admin(), &[work.device], &labels)
            .await
            .unwrap();
        work.check(plan.id, &[(3_600, 1, "started")]).await;
    }
}

#[tokio::test]
async fn a_device_that_is_gone_keeps_a_plan_from_no_other() {
    let work = Work::new().await;
    let gone = work.test.device("web-2").await;
    let new = NewPlan {
        targets: Targets::devices(vec![work.device, gone]),
        ..work.new_plan()
    };
    let plan = work.plan(new).await;
    let devices = work.test.fleet.devices();
    devices.delete(&work.test.admin(), gone, None).await.unwrap();
    work.check(plan.id, &[(3_600, 1, "started")]).await;
    let batch = work.batches_of(plan.id).await.remove(0);
    assert_eq!((batch.runs, batch.targets.named), (1, 2));
}

#[tokio::test]
async fn a_change_of_the_schedule_makes_up_for_nothing_and_another_change_leaves_it() {
    let work = Work::new().await;
    let plan = work.plan(work.new_plan()).await;
    work.advance(3_600);
    let renamed = PlanChange {
        name: Some("Renamed".into()),
        ..PlanChange::default()
    };
    let renamed = work.change(plan.id, renamed).await.unwrap();
    assert_eq!((renamed.next_at, renamed.revision), (plan.next_at, 2));
    work.check(plan.id, &[(0, 1, "started")]).await;

    work.advance(3_600);
    let other = PlanChange {
        schedule: Some(Some(NewSchedule::Cron {
            cron: "30 * * * *".into(),
            zone: "UTC".into(),
        })),
        ..PlanChange::default()
    };
    let changed = work.change(plan.id, other).await.unwrap();
    assert_eq!(changed.next_at, Some(work.now().plus(HOUR / 2)));
    work.check(plan.id, &[(0, 1, "started"), (1_800, 2, "started")]).await;
}

#[tokio::test]
async fn a_plan_that_is_switched_off_or_has_no_schedule_does_nothing_by_itself() {
    let off = PlanChange {
        enabled: Some(false),
        ..PlanChange::default()
    };
    let by_hand = PlanChange {
        schedule: Some(None),
        ..PlanChange::default()
    };
    for change in [off, by_hand] {
        let work = Work::new().await;
        let plan = work.plan(work.new_plan()).await;
        assert_eq!(work.change(plan.id, change).await.unwrap().next_at, None);
        work.check(plan.id, &[(7_200, 0, "none")]).await;
        let started = work.plans().start(&work.test.admin(), plan.id, None).await.unwrap();
        assert_eq!((started.cause, started.plan), (Cause::Manual, Some(plan.id)));
        assert_eq!(work.batches_of(plan.id).await.len(), 1);
        // From now on it counts again; what passed meanwhile is not made up for.
        let on = PlanChange {
            enabled: Some(true),
            schedule: Some(hourly()),
            ..PlanChange::default()
        };
        work.change(plan.id, on).await.unwrap();
        work.check(plan.id, &[(0, 1, "none"), (3_600, 2, "started")]).await;
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_no_time_come_twice() {
    let work = Work::new().await;
    let plan = work.plan(work.new_plan()).await;
    work.check(plan.id, &[(3_600, 1, "started")]).await;
    work.test.set_back(1_800);
    // Somebody has its schedule count anew, so that the same time is to come once more.
    for enabled in [false, true] {
        let change = PlanChange {
            enabled: Some(enabled),
            ..PlanChange::default()
        };
        work.change(plan.id, change).await.unwrap();
    }
    work.check(plan.id, &[(1_800, 1, "started"), (3_600, 2, "started")])
        .await;
}

#[tokio::test]
async fn two_servers_make_the_work_of_a_time_once() {
    let work = Work::new().await;
    let plan = work.plan(work.new_plan()).await;
    work.advance(3_600);
    tokio::join!(work.tick(), work.tick());
    assert_eq!(work.batches_of(plan.id).await.len(), 1);
}

#[tokio::test]
async fn starting_by_hand_again_with_the_same_key_is_the_same_batch() {
    let work = Work::new().await;
    let plan = work.plan(work.new_plan()).await;
    let key = Some(BatchId::from_uuid(uuid::Uuid::from_u128(7)));
    let admin = work.test.admin();
    let first = work.plans().start(&admin, plan.id, key).await.unwrap();
    let second = work.plans().start(&admin, plan.id, key).await.unwrap();
    assert_eq!(first.id, second.id);
    fails(
        work.plans()
            .start(&admin, PlanId::from_uuid(uuid::Uuid::from_u128(1)), key)
            .await,
        PLAN_NOT_FOUND,
    );
}

#[tokio::test]
async fn who_changed_a_plan_last_cannot_agree_to_its_work() {
    let work = Work::new().await;
    let new = NewPlan {
        approvals: 1,
        ..work.new_plan()
    };
    let author = person(&work, 1, Role::Operator);
    work.to_the_hour();
    let plan = work.plans().create(&author, &new).await.unwrap();
    work.check(plan.id, &[(3_600, 1, "started")]).await;
    let batch = work.batches_of(plan.id).await.remove(0);
    assert_eq!(work.states_of(batch.id).await, ["awaiting_approval 1"]);
    let approvals = work.test.fleet.approvals();
    let (id, comment) = (batch.approval.unwrap(), Default::default());
    fails(approvals.approve(&author, id, &comment).await, APPROVAL_OWN);
    approvals
        .approve(&person(&work, 2, Role::Operator), id, &comment)
        .await
        .unwrap();
    assert_eq!(work.states_of(batch.id).await, ["queued 1"]);
}

#[tokio::test]
async fn a_plan_takes_the_right_to_its_operation() {
    let work = Work::new().await;
    let viewer = person(&work, 1, Role::Viewer);
    fails(work.plans().create(&viewer, &work.new_plan()).await, DENIED);
    let new = NewPlan {
        operation: "agent.update".into(),
        params: json!({"version": "1.0.0"}).into(),
        ..work.new_plan()
    };
    // Agents are updated by administrators.
    let operator = person(&work, 1, Role::Operator);
    fails(work.plans().create(&operator, &new).await, DENIED);
    let made = work.plans().create(&work.test.admin(), &new).await.unwrap();
    fails(work.plans().start(&operator, made.id, None).await, DENIED);
    fails(work.plans().delete(&operator, made.id, None).await, DENIED);
    let taken_over = PlanChange {
        operation: Some("shell".into()),
        params: Some(json!({"script": "true"}).into()),
        ..PlanChange::default()
    };
    fails(work.plans().set(&operator, made.id, None, &taken_over).await, DENIED);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_when_the_plan_is_made() {
    let work = Work::new().await;
    let new = work.new_plan();
    let refused = |change: &dyn Fn(&mut NewPlan)| {
        let mut plan = new.clone();
        change(&mut plan);
        plan
    };
    for (plan, code) in [
        (refused(&|plan| plan.name = String::new()), "device.name_invalid"),
        (refused(&|plan| plan.operation = "dance".into()), "operation.unknown"),
        (
            refused(&|plan| plan.params = json!({}).into()),
            "operation.params_invalid",
        ),
        (refused(&|plan| plan.targets = Targets::default()), "request.invalid"),
        (refused(&|plan| plan.spread_seconds = 86_401), "request.invalid"),
        (refused(&|plan| plan.approvals = 11), "request.invalid"),
        (refused(&|plan| plan.timeout_seconds = Some(0)), "request.invalid"),
        (
            refused(&|plan| {
                plan.schedule = Some(NewSchedule::Cron {
                    cron: "0 0 31 2 *".into(),
                    zone: "UTC".into(),
                });
            }),
            "schedule.never",
        ),
        (
            refused(&|plan| {
                plan.schedule = Some(NewSchedule::Once {
                    at: Timestamp::from_seconds(0),
                })
            }),
            "schedule.never",
        ),
        (
            refused(&|plan| plan.missed = NewMissedRuns::RunOnce { within_seconds: 0 }),
            "request.invalid",
        ),
    ] {
        let error = work.plans().create(&work.test.admin(), &plan).await.unwrap_err();
        assert_eq!(error.code().name(), code, "{plan:?}");
    }
}

#[tokio::test]
async fn plans_have_names_of_their_own_and_revisions() {
    let work = Work::new().await;
    let plan = work.plan(work.new_plan()).await;
    let admin = work.test.admin();
    let again = NewPlan {
        name: "HOURLY".into(),
        ..work.new_plan()
    };
    fails(work.plans().create(&admin, &again).await, PLAN_NAME_TAKEN);
    let change = PlanChange::default();
    fails(
        work.plans().set(&admin, plan.id, Some(7), &change).await,
        PRECONDITION_FAILED,
    );
    fails(work.plans().delete(&admin, plan.id, Some(7)).await, PRECONDITION_FAILED);
    work.plans().delete(&admin, plan.id, Some(1)).await.unwrap();
    fails(work.plans().show(&admin, plan.id).await, PLAN_NOT_FOUND);
    work.advance(3_600);
    work.tick().await;
    assert!(work.batches_of(plan.id).await.is_empty());
}

#[test]
fn null_takes_away_and_absent_leaves() {
    let change = |body| serde_json::from_value::<PlanChange>(body).unwrap();
    assert_eq!(change(json!({})).schedule, None);
    assert_eq!(change(json!({"schedule": null})).schedule, Some(None));
    assert_eq!(change(json!({"timeout_seconds": 5})).timeout_seconds, Some(Some(5)));
}

fn person(work: &Work, n: u128, role: Role) -> Context {
    let grants = role.grants(work.test.fleet.permissions());
    let actor = Actor::User {
        id: Uuid::from_u128(n),
        name: format!("user-{n}"),
    };
    Context::new(actor, Origin::default(), Arc::new(grants))
}
