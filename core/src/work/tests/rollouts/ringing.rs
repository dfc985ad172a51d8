//! Rollouts go on as soon as runs end, before any job looks.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::work::bell::{RunBell, Waits, drive};

async fn one_by_one(devices: usize) -> Rolling {
    let rollout = json!({"waves": [{"type": "percent", "percent": 100}], "max_parallel": 1});
    Rolling::new(devices, rollout).await
}

/// Waits, without a tick of the job, until so many runs are queued.
async fn until_queued(rolling: &Rolling, bell: &RunBell, count: usize) {
    tokio::select! {
        () = drive(&rolling.work.test.fleet, bell) => unreachable!("it follows until it is dropped"),
        () = async {
            while rolling.runs_in(State::Queued).await.len() != count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        } => {}
    }
}

/// Has all that is queued done by their devices, and no job looks.
async fn succeed(rolling: &Rolling) {
    for run in rolling.runs_in(State::Queued).await {
        rolling.begin(&run).await;
        let finished = rolling.work.finished(run.id, RunResult::Succeeded);
        let delivery = rolling.work.test.fleet.delivery();
        delivery.finished(run.device, finished).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_begin_when_a_run_ends() {
    let rolling = one_by_one(4).await;
    let bell = rolling.work.test.fleet.run_bell();
    rolling.tick().await;
    for _ in 0..3 {
        until_queued(&rolling, bell, 1).await;
        succeed(&rolling).await;
        assert_eq!(rolling.runs_in(State::Queued).await.len(), 0);
    }
    until_queued(&rolling, bell, 1).await;
    succeed(&rolling).await;
    assert_eq!(rolling.runs_in(State::Succeeded).await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_another_server_made_is_found_and_followed() {
    let rolling = one_by_one(2).await;
    rolling.tick().await;
    // The bell of a server that has not seen it being made.
    let bell = Arc::new(RunBell::default());
    rolling.work.test.fleet.store().observe(bell.clone());
    let looks = tokio::time::timeout(Duration::from_secs(6), drive(&rolling.work.test.fleet, &bell));
    assert!(looks.await.is_err(), "it follows until it is dropped");
    succeed(&rolling).await;
    until_queued(&rolling, &bell, 1).await;
}

#[tokio::test(start_paused = true)]
async fn runs_that_have_not_ended_ring_nothing() {
    let rolling = one_by_one(2).await;
    rolling.tick().await;
    let run = rolling.runs_in(State::Queued).await.remove(0);
    rolling.begin(&run).await;
    assert_eq!(rolling.work.test.fleet.run_bell().take_due().len(), 0);
    let finished = rolling.work.finished(run.id, RunResult::Failed);
    let delivery = rolling.work.test.fleet.delivery();
    delivery.finished(run.device, finished).await.unwrap();
    assert_eq!(
        rolling.work.test.fleet.run_bell().take_due(),
        [(rolling.batch, Waits::Rollout)].into()
    );
}
