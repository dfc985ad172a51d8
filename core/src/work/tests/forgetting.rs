//! Work that ended long ago.

use super::*;
use crate::{
    store::{Entity, Query},
    work::{
        Approval, Batch, Rollout,
        forgetting::{forget_ended, forget_some},
    },
};

const DAY: u64 = 86_400;

impl Work {
    async fn how_many<T: Entity>(&self) -> usize {
        let mut reader = self.test.fleet.store().reader().await.unwrap();
        let page = PageRequest::new(Some(200), None).unwrap();
        reader.list(&Query::<T>::all(), &page).await.unwrap().items.len()
    }

    /// How many batches, runs, approvals and rollouts are stored.
    async fn stored(&self) -> [usize; 4] {
        [
            self.how_many::<Batch>().await,
            self.how_many::<Run>().await,
            self.how_many::<Approval>().await,
            self.how_many::<Rollout>().await,
        ]
    }

    async fn forget(&self) {
        forget_ended(self.test.fleet.clone()).await.unwrap();
    }
}

/// What is stored of work after a year and a day, in which nobody did anything but the sweep.
async fn check(request: impl FnOnce(&Work) -> BatchRequest, expected: [usize; 4]) {
    let work = Work::new().await;
    work.create(&request(&work)).await.unwrap();
    let before = work.stored().await;
    work.advance(364 * DAY);
    work.sweep().await;
    work.forget().await;
    assert_eq!(work.stored().await, before);
    work.advance(3 * DAY);
    work.sweep().await;
    work.forget().await;
    assert_eq!(work.stored().await, expected);
}

#[tokio::test]
async fn work_that_ended_a_year_ago_is_forgotten_with_all_that_belongs_to_it() {
    check(|work| work.request("true"), [0; 4]).await;
    let agreed = |work: &Work| BatchRequest {
        approvals: Some(1),
        ..work.request("true")
    };
    check(agreed, [0; 4]).await;
}

#[tokio::test]
async fn what_may_still_begin_is_kept_however_old_it_is() {
    let late = |work: &Work| BatchRequest {
        start_at: Some(work.now().plus(Duration::from_secs(366 * DAY))),
        ..work.request("true")
    };
    check(late, [1, 1, 0, 0]).await;
}

#[tokio::test]
async fn waves_that_wait_for_somebody_are_kept() {
    let work = Work::new().await;
    let devices = [vec![work.device], work.test.devices(2).await].concat();
    let rollout = serde_json::json!({"waves": [{"type": "count", "devices": 1}], "by_hand": true});
    let request = BatchRequest {
        targets: Targets::devices(devices),
        rollout: serde_json::from_value(rollout).ok(),
        ..work.request("true")
    };
    let batch = work.create(&request).await.unwrap().id;
    assert_eq!(work.stored().await, [1, 3, 0, 1]);
    work.advance(366 * DAY);
    work.forget().await;
    assert_eq!(work.stored().await, [1, 3, 0, 1]);
    let stop = work.test.fleet.batches().cancel(&work.test.admin(), batch).await;
    assert_eq!(stop.map(|view| view.finished).ok(), Some(true));
    work.forget().await;
    assert_eq!(work.stored().await, [0; 4]);
}

#[tokio::test]
async fn a_large_batch_goes_step_by_step_and_the_audit_says_so() {
    let work = Work::new().await;
    let request = BatchRequest {
        targets: Targets::devices(work.test.devices(600).await),
        ..work.request("true")
    };
    work.create(&request).await.unwrap();
    work.advance(366 * DAY);
    for _ in 0..3 {
        work.sweep().await;
    }
    let audited = work.test.actions().await.len();
    work.forget().await;
    assert_eq!(work.stored().await, [0; 4]);
    let actions = work.test.actions().await.split_off(audited);
    assert!(
        actions.len() > 1 && actions.iter().all(|action| action == "batch.forget"),
        "{actions:?}"
    );
}

#[tokio::test]
async fn one_tick_forgets_so_much_and_the_next_ones_the_rest() {
    let work = Work::new().await;
    for _ in 0..3 {
        work.create(&work.request("true")).await.unwrap();
    }
    work.advance(1);
    let many = BatchRequest {
        targets: Targets::devices(work.test.devices(600).await),
        ..work.request("true")
    };
    work.create(&many).await.unwrap();
    work.advance(366 * DAY);
    for _ in 0..3 {
        work.sweep().await;
    }
    // Two batches; the third and some runs of the large one; all of them.
    for expected in [2, 1, 0] {
        forget_some(&work.test.fleet, 2).await.unwrap();
        assert_eq!(work.how_many::<Batch>().await, expected);
    }
    assert_eq!(work.stored().await, [0; 4]);
}

#[tokio::test]
async fn where_it_is_to_be_kept_for_ever_nothing_goes() {
    let work = Work::new().await;
    work.set("work.keep_days", serde_json::json!(0)).await;
    work.create(&work.request("true")).await.unwrap();
    work.advance(4_000 * DAY);
    work.sweep().await;
    work.forget().await;
    assert_eq!(work.stored().await, [1, 1, 0, 0]);
}
