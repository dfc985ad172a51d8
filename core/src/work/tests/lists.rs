//! Which runs a list holds.

use super::*;
use crate::work::run::Period;

/// Runs that were created at these seconds and have ended, or not.
async fn runs(work: &Work, at: &[(u64, Option<u64>)]) -> (Timestamp, Vec<RunId>) {
    let (began, mut runs) = (work.now(), Vec::new());
    let seconds = |timestamp: Timestamp| timestamp.since(began).as_secs();
    for (created, ended) in at {
        work.advance(created - seconds(work.now()));
        let run = work.run().await;
        if let Some(ended) = ended {
            work.advance(ended - seconds(work.now()));
            let service = work.test.fleet.runs();
            service.cancel(&work.test.admin(), run).await.unwrap();
        }
        runs.push(run);
    }
    (began, runs)
}

#[tokio::test]
async fn runs_are_found_by_when_they_were_created_and_ended() {
    let work = Work::new().await;
    let (began, made) = runs(&work, &[(0, Some(10)), (20, Some(30)), (40, None)]).await;
    let at = |seconds: Option<u64>| seconds.map(|seconds| began.plus(Duration::from_secs(seconds)));
    for (created, finished, expected) in [
        ((None, None), (None, None), &[0, 1, 2][..]),
        ((Some(20), None), (None, None), &[1, 2]),
        ((Some(21), None), (None, None), &[2]),
        ((None, Some(20)), (None, None), &[0]),
        ((None, Some(21)), (None, None), &[0, 1]),
        ((Some(1), Some(40)), (None, None), &[1]),
        // What has not ended has no time at which it did.
        ((None, None), (Some(0), None), &[0, 1]),
        ((None, None), (Some(10), Some(30)), &[0]),
        ((None, None), (None, Some(31)), &[0, 1]),
        ((Some(20), None), (None, Some(31)), &[1]),
        ((Some(41), None), (None, None), &[]),
    ] {
        let period = |(from, to)| Period {
            from: at(from),
            to: at(to),
        };
        let filter = RunFilter {
            created: period(created),
            finished: period(finished),
            ..RunFilter::default()
        };
        let (service, admin) = (work.test.fleet.runs(), work.test.admin());
        let page = service.list(&admin, &filter, &PageRequest::default()).await.unwrap();
        let found: Vec<_> = page.items.iter().rev().map(|run| run.id).collect();
        let expected: Vec<_> = expected.iter().map(|place| made[*place]).collect();
        assert_eq!(found, expected, "{created:?} {finished:?}");
        let count = service.count(&admin, &filter).await.unwrap();
        assert_eq!(count as usize, expected.len());
    }
}
