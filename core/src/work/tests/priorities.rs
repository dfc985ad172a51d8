//! Which work goes first.

use super::*;
use crate::work::{Priority, batch::release_due};

impl Work {
    async fn asked_as(&self, priority: Priority, start_at: Option<Timestamp>) -> BatchId {
        let request = BatchRequest {
            priority,
            start_at,
            ignore_windows: Some(true),
            expires_in_seconds: Some(86_400),
            ..self.request("true")
        };
        self.create(&request).await.unwrap().id
    }

    /// The batches of the only device in the order in which it gets their runs, each after the one before has ended.
    async fn in_turn(&self) -> Vec<BatchId> {
        let mut order = Vec::new();
        loop {
            let offers = self.pending(1).await.offers;
            assert!(offers.len() <= 1, "one at a time");
            let Some(offer) = offers.first() else {
                return order;
            };
            let run = offer.body.run;
            order.push(self.show(run).await.batch.unwrap());
            let finished = self.finished(run, RunResult::Succeeded);
            self.test
                .fleet
                .delivery()
                .finished(self.device, finished)
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn of_what_waits_for_a_device_the_most_urgent_goes_first() {
    let work = Work::new().await;
    let low = work.asked_as(Priority::Low, None).await;
    work.advance(1);
    let normal = work.asked_as(Priority::Normal, None).await;
    work.advance(1);
    let high = work.asked_as(Priority::High, None).await;
    work.advance(1);
    let last = work.asked_as(Priority::Normal, None).await;
    assert_eq!(work.in_turn().await, [high, normal, last, low]);
}

#[tokio::test]
async fn who_waits_long_enough_goes_first_however_urgent_the_others_are() {
    for (first, waited, then, expected) in [
        (Priority::Low, 3_599, Priority::Normal, [1, 0]),
        (Priority::Low, 3_601, Priority::Normal, [0, 1]),
        (Priority::Normal, 3_601, Priority::High, [0, 1]),
        (Priority::Low, 7_199, Priority::High, [1, 0]),
        (Priority::Low, 7_201, Priority::High, [0, 1]),
    ] {
        let work = Work::new().await;
        let one = work.asked_as(first, None).await;
        work.advance(waited);
        let both = [one, work.asked_as(then, None).await];
        let expected = expected.map(|place| both[place]);
        assert_eq!(work.in_turn().await, expected, "{first:?} {waited} {then:?}");
    }
}

#[tokio::test]
async fn what_was_asked_for_long_ago_waits_from_the_time_at_which_it_was_to_begin() {
    let work = Work::new().await;
    let begins = work.now().plus(Duration::from_secs(86_400));
    let planned = work.asked_as(Priority::Low, Some(begins)).await;
    work.advance(86_400);
    let fleet = work.test.fleet.clone();
    let now = work.asked_as(Priority::Normal, None).await;
    release_due(fleet).await.unwrap();
    assert_eq!(work.in_turn().await, [now, planned]);
}

#[tokio::test]
async fn a_device_with_very_many_runs_still_has_one_at_a_time() {
    let work = Work::new().await;
    let running = work.asked_as(Priority::Low, None).await;
    assert_eq!(work.pending(1).await.offers.len(), 1);
    let run = work.only_run_of(running).await.id;
    work.test.fleet.delivery().accepted(work.device, run).await.unwrap();
    for _ in 0..501 {
        work.asked_as(Priority::High, None).await;
    }
    assert!(work.pending(1).await.offers.is_empty());
    work.test.fleet.runs().cancel(&work.test.admin(), run).await.unwrap();
    assert_eq!(work.pending(1).await.cancels, [run]);
}

#[tokio::test]
async fn of_batches_whose_time_has_come_the_most_urgent_is_let_go_first() {
    let work = Work::new().await;
    let begins = Some(work.now().plus(Duration::from_secs(60)));
    let mut normal = Vec::new();
    for _ in 0..20 {
        normal.push(work.asked_as(Priority::Normal, begins).await);
    }
    let low = work
        .asked_as(Priority::Low, Some(work.now().plus(Duration::from_secs(30))))
        .await;
    let high = work.asked_as(Priority::High, begins).await;
    work.advance(60);
    release_due(work.test.fleet.clone()).await.unwrap();
    assert_eq!(work.states_of(high).await, ["queued 1"]);
    let mut waiting = 0;
    for batch in &normal {
        waiting += usize::from(work.states_of(*batch).await == ["scheduled 1"]);
    }
    assert_eq!(
        (waiting, work.states_of(low).await),
        (1, vec!["scheduled 1".to_owned()])
    );
}

#[tokio::test]
async fn a_priority_is_shown_and_kept_when_work_is_tried_again() {
    let work = Work::new().await;
    let batch = work.asked_as(Priority::High, None).await;
    let offers = work.pending(1).await.offers;
    let run = offers[0].body.run;
    assert_eq!(work.show(run).await.priority, Priority::High);
    let failed = work.finished(run, RunResult::Failed);
    work.test.fleet.delivery().finished(work.device, failed).await.unwrap();
    let batches = work.test.fleet.batches();
    let again = batches
        .retry(&work.test.admin(), batch, &Default::default(), None)
        .await;
    assert_eq!(again.unwrap().priority, Priority::High);
}
