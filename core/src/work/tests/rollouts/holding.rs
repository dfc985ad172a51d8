//! What holds a rollout: people, approvals, windows, spread; and what ends it early.

use super::*;

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
    let (windows, window) = (it.work.test.fleet.windows(), it.freeze(3 * 3_600).await);
    it.work_off(0).await;
    it.check("rolling", 1, &["scheduled 4", "succeeded 2"]).await;
    assert_eq!(it.shown().await.held, 3);
    it.work.advance(2 * 3_600);
    it.work.sweep().await;
    it.tick().await;
    it.check("rolling", 1, &["scheduled 4", "succeeded 2"]).await;
    windows.delete(&it.work.test.admin(), window, None).await.unwrap();
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
async fn whoever_lets_it_go_on_may_do_the_work() {
    let it = Rolling::of(3, waves(), |request, _| {
        request.operation = agent_update::NAME.into();
        request.params = json!({}).into();
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

#[tokio::test]
async fn a_failure_halts_it_before_what_a_window_held_is_let_go() {
    let asked = json!({"max_parallel": 2, "max_failures": {"type": "count", "failures": 0}});
    let it = Rolling::of(6, asked, |request, _| request.ignore_windows = Some(false)).await;
    it.freeze(3 * 3_600).await;
    it.work_off(0).await;
    it.check("rolling", 1, &["scheduled 4", "succeeded 2"]).await;
    it.work.advance(3 * 3_600);
    it.tick().await;
    it.check("rolling", 1, &["queued 2", "scheduled 2", "succeeded 2"])
        .await;
    it.work_off(1).await;
    it.check("halted", 1, &["failed 1", "scheduled 2", "succeeded 3"]).await;
}
