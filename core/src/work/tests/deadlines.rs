//! Every run ends by its deadline, whatever was lost.

use super::*;
use crate::work::delivery::Answer;

#[tokio::test]
async fn what_nobody_came_for_expires() {
    let work = Work::new().await;
    let run = work.run().await;
    work.advance(3_599);
    work.sweep().await;
    assert_eq!(work.state(run).await, State::Queued);
    work.advance(2);
    work.sweep().await;
    assert_eq!(work.state(run).await, State::Expired);
    assert!(work.pending(1).await.offers.is_empty());
}

#[tokio::test]
async fn an_expired_run_is_not_offered_even_before_the_sweep() {
    let work = Work::new().await;
    work.run().await;
    work.advance(3_601);
    assert!(work.pending(1).await.offers.is_empty());
}

#[tokio::test]
async fn an_offer_without_an_answer_is_lost_and_a_late_result_still_lands_once() {
    let work = Work::new().await;
    let run = work.run_in(State::Offered).await;
    work.advance(3_661);
    work.sweep().await;
    assert_eq!(work.state(run).await, State::Lost);
    let delivery = work.test.fleet.delivery();
    assert_eq!(
        delivery
            .finished(work.device, work.finished(run, RunResult::Succeeded))
            .await
            .unwrap(),
        Answer::Stored
    );
    assert_eq!(work.state(run).await, State::Succeeded);
    assert_eq!(
        delivery
            .finished(work.device, work.finished(run, RunResult::Failed))
            .await
            .unwrap(),
        Answer::Rejected
    );
}

#[tokio::test]
async fn a_run_that_does_not_end_in_its_time_is_ended() {
    let work = Work::new().await;
    for state in [State::Accepted, State::Running] {
        let run = work.run_in(state).await;
        work.advance(300 + 59);
        work.sweep().await;
        assert_eq!(work.state(run).await, state);
        work.advance(2);
        work.sweep().await;
        assert!(matches!(work.state(run).await, State::TimedOut | State::Lost));
        assert!(work.show(run).await.finished_at.is_some());
    }
}

#[tokio::test]
async fn the_sweep_touches_nothing_that_has_ended() {
    let work = Work::new().await;
    let run = work.run_in(State::Succeeded).await;
    let before = work.test.fleet.runs().show(&work.test.admin(), run).await.unwrap();
    work.advance(1_000_000);
    work.sweep().await;
    assert_eq!(
        work.test.fleet.runs().show(&work.test.admin(), run).await.unwrap(),
        before
    );
}

#[tokio::test]
async fn a_backlog_larger_than_a_page_is_swept() {
    let work = Work::new().await;
    let devices = work.test.devices(700).await;
    let request = BatchRequest {
        targets: Targets::devices(devices),
        ..work.request("true")
    };
    let batch = work.create(&request).await.unwrap();
    work.advance(3_601);
    work.sweep().await;
    let batch = work
        .test
        .fleet
        .batches()
        .show(&work.test.admin(), batch.id)
        .await
        .unwrap();
    assert!(batch.finished);
    assert_eq!(
        batch.states,
        [crate::work::run::StateCount {
            state: State::Expired,
            runs: 700
        }]
    );
}
