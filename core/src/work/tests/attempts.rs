//! Trying again by itself, as a policy says.

use super::*;
use crate::{
    devices::testing::fails,
    work::batch::{BatchRetry, Cause, NewRetry, RETRY_NOT_IDEMPOTENT, retry_ended},
};

const RETRY: NewRetry = NewRetry {
    attempts: 2,
    delay_seconds: 60,
    max_delay_seconds: None,
    on: Vec::new(),
};

/// Two devices, and a batch on them that is tried again.
struct Park {
    work: Work,
    devices: Vec<DeviceId>,
    batch: BatchView,
}

impl Park {
    async fn new(retry: NewRetry) -> Self {
        Self::with(|request| request.retry = Some(retry)).await
    }

    async fn with(change: impl FnOnce(&mut BatchRequest)) -> Self {
        let work = Work::new().await;
        let devices = work.test.devices(2).await;
        let mut request = BatchRequest {
            operation: "inventory.refresh".into(),
            params: serde_json::json!({}).into(),
            targets: Targets::devices(devices.clone()),
            timeout_seconds: Some(77),
            ..BatchRequest::default()
        };
        change(&mut request);
        let batch = work.create(&request).await.unwrap();
        Self { work, devices, batch }
    }

    /// The open run of a device ends like that.
    async fn end(&self, device: usize, result: RunResult) {
        let device = self.devices[device];
        let delivery = self.work.test.fleet.delivery();
        let offers = delivery.pending(device, 1, &self.work.dispatch).await.unwrap().offers;
        let run = offers[0].body.run;
        delivery
            .finished(device, self.work.finished(run, result))
            .await
            .unwrap();
    }

    async fn tick(&self, seconds: u64) {
        self.work.advance(seconds);
        retry_ended(self.work.test.fleet.clone()).await.unwrap();
    }

    async fn show(&self, batch: BatchId) -> BatchView {
        let batches = self.work.test.fleet.batches();
        batches.show(&self.work.test.admin(), batch).await.unwrap()
    }

    /// The attempts so far, each with its number, its devices and how its runs stand.
    async fn attempts(&self) -> Vec<String> {
        let (mut all, mut next) = (Vec::new(), Some(self.batch.id));
        while let Some(id) = next {
            let shown = self.show(id).await;
            let states = self.work.states_of(id).await.join(", ");
            all.push(format!("{}: {states}", shown.attempt));
            if let Some(again) = shown.retried_by {
                assert_eq!(self.show(again).await.retry_of, Some(id));
            }
            next = shown.retried_by;
        }
        all
    }

    async fn check(&self, expected: &[&str]) {
        assert_eq!(self.attempts().await, expected);
    }
}

#[tokio::test]
async fn what_did_not_succeed_is_tried_again_after_a_delay_that_doubles() {
    let park = Park::new(RETRY).await;
    park.end(0, RunResult::Failed).await;
    park.tick(5).await;
    park.check(&["1: failed 1, queued 1"]).await;
    park.end(1, RunResult::Succeeded).await;
    park.tick(5).await;
    let due = park.show(park.batch.id).await.retry_at.unwrap();
    assert_eq!(due, park.work.now().plus(Duration::from_secs(60)));
    park.tick(59).await;
    park.check(&["1: failed 1, succeeded 1"]).await;
    park.tick(1).await;
    park.check(&["1: failed 1, succeeded 1", "2: queued 1"]).await;
    let second = park.show(park.show(park.batch.id).await.retried_by.unwrap()).await;
    assert_eq!((second.cause, second.runs, second.retry_at), (Cause::Retry, 1, None));
    assert_eq!(park.work.only_run_of(second.id).await.timeout_seconds, 77);
    assert_eq!(park.work.only_run_of(second.id).await.device, park.devices[0]);

    park.end(0, RunResult::Indeterminate).await;
    park.tick(5).await;
    park.tick(119).await;
    assert_eq!(park.attempts().await.len(), 2);
    park.tick(1).await;
    assert_eq!(park.attempts().await.len(), 3);
    park.end(0, RunResult::Failed).await;
    for _ in 0..3 {
        park.tick(3_600).await;
    }
    park.check(&["1: failed 1, succeeded 1", "2: indeterminate 1", "3: failed 1"])
        .await;
}

#[tokio::test]
async fn an_attempt_is_made_once_however_many_servers_look() {
    let park = Park::new(RETRY).await;
    park.end(0, RunResult::Failed).await;
    park.end(1, RunResult::Failed).await;
    park.tick(5).await;
    park.work.advance(60);
    let fleet = || park.work.test.fleet.clone();
    let (one, other) = tokio::join!(retry_ended(fleet()), retry_ended(fleet()));
    one.and(other).unwrap();
    park.tick(0).await;
    park.check(&["1: failed 2", "2: queued 2"]).await;
    let actions = park.work.test.actions().await;
    let count = |name: &str| actions.iter().filter(|action| *action == name).count();
    assert_eq!((count("batch.retry_settle"), count("batch.retry")), (1, 1));
}

#[tokio::test]
async fn only_the_ends_that_the_policy_names_are_tried_again() {
    for (on, result, is_tried) in [
        (&[][..], RunResult::Failed, true),
        (&[], RunResult::TimedOut, true),
        (&[], RunResult::Cancelled, false),
        (&[], RunResult::Succeeded, false),
        (&[], RunResult::NotApplicable, false),
        (&[State::Lost], RunResult::Failed, false),
        (&[State::Failed, State::Lost], RunResult::Failed, true),
    ] {
        let on = on.to_vec();
        let park = Park::new(NewRetry {
            on: on.clone(),
            ..RETRY
        })
        .await;
        park.end(0, RunResult::Succeeded).await;
        park.end(1, result).await;
        park.tick(5).await;
        assert_eq!(
            park.show(park.batch.id).await.retry_at.is_some(),
            is_tried,
            "{on:?} {result:?}"
        );
        park.tick(60).await;
        assert_eq!(
            park.attempts().await.len(),
            1 + usize::from(is_tried),
            "{on:?} {result:?}"
        );
    }
}

#[tokio::test]
async fn a_batch_that_is_stopped_is_not_tried_again() {
    let park = Park::new(RETRY).await;
    let (fleet, admin) = (&park.work.test.fleet, park.work.test.admin());
    park.end(0, RunResult::Failed).await;
    let stopped = fleet.batches().cancel(&admin, park.batch.id).await.unwrap();
    assert!(stopped.cancelled_at.is_some());
    park.tick(5).await;
    park.tick(60).await;
    park.check(&["1: cancelled 1, failed 1"]).await;

    // While it waits for its next attempt nothing else is left to be stopped.
    let park = Park::new(RETRY).await;
    let (fleet, admin) = (&park.work.test.fleet, park.work.test.admin());
    park.end(0, RunResult::Failed).await;
    park.end(1, RunResult::Failed).await;
    park.tick(5).await;
    let stopped = fleet.batches().cancel(&admin, park.batch.id).await.unwrap();
    assert!(stopped.cancelled_at.is_some());
    assert_eq!(stopped.retry_at, None);
    park.tick(60).await;
    park.check(&["1: failed 2"]).await;
}

#[tokio::test]
async fn what_nobody_agreed_to_does_not_come_back() {
    let park = Park::with(|request| {
        request.retry = Some(RETRY);
        request.approvals = Some(1);
    })
    .await;
    park.work.advance(2 * 86_400);
    park.work.sweep().await;
    park.tick(5).await;
    park.tick(60).await;
    park.check(&["1: expired 2"]).await;
}

#[tokio::test]
async fn what_was_agreed_to_is_tried_again_without_asking_anew() {
    let park = Park::with(|request| {
        request.retry = Some(RETRY);
        request.approvals = Some(1);
    })
    .await;
    let other = approvals::user(&park.work, 2, crate::access::Role::Operator);
    let approvals = park.work.test.fleet.approvals();
    let approval = park.batch.approval.unwrap();
    approvals.approve(&other, approval, &Default::default()).await.unwrap();
    park.end(0, RunResult::Succeeded).await;
    park.end(1, RunResult::Failed).await;
    park.tick(5).await;
    park.tick(60).await;
    park.check(&["1: failed 1, succeeded 1", "2: queued 1"]).await;

    // Who does that by hand asks for it.
    park.end(1, RunResult::Failed).await;
    let second = park.show(park.batch.id).await.retried_by.unwrap();
    let batches = park.work.test.fleet.batches();
    let by_hand = batches
        .retry(&park.work.test.admin(), second, &BatchRetry::default(), None)
        .await;
    let by_hand = by_hand.unwrap();
    assert_eq!(park.work.states_of(by_hand.id).await, ["awaiting_approval 1"]);
}

#[tokio::test]
async fn without_its_devices_it_is_given_up() {
    let park = Park::new(RETRY).await;
    let (fleet, admin) = (&park.work.test.fleet, park.work.test.admin());
    park.end(0, RunResult::Succeeded).await;
    park.end(1, RunResult::Failed).await;
    park.tick(5).await;
    fleet.devices().delete(&admin, park.devices[1], None).await.unwrap();
    park.tick(60).await;
    let shown = park.show(park.batch.id).await;
    assert_eq!((shown.retry_at, shown.retried_by), (None, None));
    let actions = park.work.test.actions().await;
    assert_eq!(actions.last().map(String::as_str), Some("batch.retry_settle"));
    park.tick(5).await;
    assert_eq!(park.work.test.actions().await.len(), actions.len(), "that is said once");
}

#[tokio::test]
async fn an_attempt_by_hand_is_not_tried_again_by_itself() {
    let park = Park::new(RETRY).await;
    let (fleet, admin) = (&park.work.test.fleet, park.work.test.admin());
    park.end(0, RunResult::Succeeded).await;
    park.end(1, RunResult::Failed).await;
    let retry = BatchRetry::default();
    let again = fleet
        .batches()
        .retry(&admin, park.batch.id, &retry, None)
        .await
        .unwrap();
    assert_eq!((again.attempt, again.retry), (1, None));
}

#[tokio::test]
async fn a_policy_that_cannot_be_is_refused_with_its_member() {
    let work = Work::new().await;
    let check = async |operation: &str, retry: NewRetry, pointer: &str| {
        let request = BatchRequest {
            operation: operation.into(),
            retry: Some(retry),
            params: match operation {
                "shell" => serde_json::json!({"script": "true"}).into(),
                _ => serde_json::json!({}).into(),
            },
            ..work.request("true")
        };
        match work.create(&request).await {
            Ok(batch) => assert_eq!((pointer, batch.retry), ("", None)),
            Err(error) => assert_eq!(error.fields()[0].pointer, pointer),
        }
    };
    let (refresh, shell) = ("inventory.refresh", "shell");
    check(refresh, NewRetry { attempts: 6, ..RETRY }, "/retry/attempts").await;
    check(refresh, NewRetry { attempts: 0, ..RETRY }, "").await;
    check(shell, NewRetry { attempts: 0, ..RETRY }, "").await;
    check(shell, RETRY, "/retry").await;
    let slow = NewRetry {
        delay_seconds: 86_401,
        ..RETRY
    };
    check(refresh, slow, "/retry/delay_seconds").await;
    for longest in [59, 604_801] {
        let max_delay_seconds = Some(longest);
        check(
            refresh,
            NewRetry {
                max_delay_seconds,
                ..RETRY
            },
            "/retry/max_delay_seconds",
        )
        .await;
    }
    let on = vec![State::Failed, State::Cancelled];
    check(refresh, NewRetry { on, ..RETRY }, "/retry/on").await;
    let shell = BatchRequest {
        retry: Some(RETRY),
        ..work.request("true")
    };
    fails(work.create(&shell).await, RETRY_NOT_IDEMPOTENT);
    let in_waves = BatchRequest {
        operation: "inventory.refresh".into(),
        params: serde_json::json!({}).into(),
        retry: Some(RETRY),
        rollout: Some(crate::work::rollouts::NewRollout::default()),
        ..work.request("true")
    };
    fails(work.create(&in_waves).await, crate::kernel::INVALID);
}
