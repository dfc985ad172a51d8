//! Work whose beginnings are spread.

use super::*;
use crate::work::batch::release_due;

#[tokio::test]
async fn runs_begin_one_after_the_other_and_all_of_them_in_time() {
    let work = Work::new().await;
    let devices = work.test.devices(600).await;
    let request = BatchRequest {
        targets: Targets::devices(devices),
        spread_seconds: 3_600,
        ..work.request("true")
    };
    let batch = work.create(&request).await.unwrap().id;
    let mut begun = Vec::new();
    for _ in 0..=6 {
        release_due(work.test.fleet.clone()).await.unwrap();
        let states = work
            .test
            .fleet
            .batches()
            .show(&work.test.admin(), batch)
            .await
            .unwrap()
            .states;
        let queued = states.iter().find(|count| count.state == State::Queued);
        begun.push(queued.map_or(0, |count| count.runs));
        work.advance(600);
    }
    // About a hundred each ten minutes.
    let steps: Vec<_> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| (60..150).contains(step)), "{begun:?}");
    assert_eq!(begun.last(), Some(&600));
}

#[tokio::test]
async fn each_run_waits_for_its_device_from_its_own_beginning_on() {
    let work = Work::new().await;
    let devices = work.test.devices(50).await;
    let request = BatchRequest {
        targets: Targets::devices(devices),
        spread_seconds: 86_400,
        ..work.request("true")
    };
    let batch = work.create(&request).await.unwrap().id;
    let (first, last) = (work.now().plus(HOUR), work.now().plus(HOUR * 25));
    let filter = RunFilter {
        batch: Some(batch),
        ..RunFilter::default()
    };
    let runs = work.test.fleet.runs();
    let page = runs.list(&work.test.admin(), &filter, &PageRequest::default()).await;
    let ends: std::collections::BTreeSet<_> = page.unwrap().items.iter().map(|run| run.expires_at).collect();
    assert!(ends.iter().all(|end| (first..=last).contains(end)));
    assert!(ends.len() > 10, "{ends:?}");
}

#[tokio::test]
async fn work_for_later_is_spread_from_its_time_on() {
    let work = Work::new().await;
    let request = BatchRequest {
        targets: Targets::devices(work.test.devices(60).await),
        start_at: Some(work.now().plus(HOUR)),
        spread_seconds: 600,
        ..work.request("true")
    };
    let batch = work.create(&request).await.unwrap().id;
    for (after, is_done) in [(3_599, false), (1, false), (600, true)] {
        work.advance(after);
        release_due(work.test.fleet.clone()).await.unwrap();
        assert_eq!(work.states_of(batch).await == ["queued 60"], is_done, "after {after}");
    }
}
