//! Work that heeds windows.

use super::*;
use crate::work::{
    batch::release_due,
    windows::{NewWindow, WindowView},
};

impl Work {
    async fn window(&self, window: serde_json::Value) -> WindowView {
        let new: NewWindow = serde_json::from_value(window).unwrap();
        self.test
            .fleet
            .windows()
            .create(&self.test.admin(), &new)
            .await
            .unwrap()
    }

    /// A blackout of all devices from now on, so long.
    async fn blackout(&self, seconds: u64) -> WindowView {
        let (from, to) = (self.now(), self.now().plus(Duration::from_secs(seconds)));
        let times = serde_json::json!({"type": "once", "starts_at": from, "ends_at": to});
        self.window(serde_json::json!({
            "name": "freeze", "kind": "blackout", "scope": {"all": true}, "when": times,
        }))
        .await
    }

    async fn asked_to_heed(&self, ignore_windows: Option<bool>, start_in: Option<u64>) -> BatchView {
        let request = BatchRequest {
            ignore_windows,
            start_at: start_in.map(|seconds| self.now().plus(Duration::from_secs(seconds))),
            ..self.request("true")
        };
        self.create(&request).await.unwrap()
    }
}

#[tokio::test]
async fn what_begins_now_ignores_windows_and_says_so_and_what_begins_later_heeds_them() {
    for (ignore, start, ignores) in [
        (None, None, true),
        (Some(false), None, false),
        (Some(true), None, true),
        (None, Some(60), false),
        (Some(false), Some(60), false),
        (Some(true), Some(60), true),
    ] {
        let work = Work::new().await;
        work.blackout(3_600).await;
        let batch = work.asked_to_heed(ignore, start).await;
        assert_eq!(batch.ignores_windows, ignores, "{ignore:?} {start:?}");
        work.advance(61);
        release_due(work.test.fleet.clone()).await.unwrap();
        let state = if ignores { "queued 1" } else { "scheduled 1" };
        assert_eq!(work.states_of(batch.id).await, [state], "{ignore:?} {start:?}");
        assert_eq!(work.pending(1).await.offers.len(), usize::from(ignores));
    }
}

#[tokio::test]
async fn a_run_waits_for_the_end_of_a_blackout_and_has_all_of_its_time_then() {
    let work = Work::new().await;
    // Longer than a run of its kind waits for its device.
    work.blackout(2 * 3_600).await;
    let batch = work.asked_to_heed(Some(false), None).await.id;
    assert_eq!(work.states_of(batch).await, ["scheduled 1"]);
    let run = work.only_run_of(batch).await.id;
    assert_eq!(work.moves(run).await, ["scheduled>scheduled"], "why it waits is told");
    work.advance(2 * 3_600 - 1);
    work.sweep().await;
    release_due(work.test.fleet.clone()).await.unwrap();
    assert_eq!(work.states_of(batch).await, ["scheduled 1"]);
    work.advance(1);
    release_due(work.test.fleet.clone()).await.unwrap();
    assert_eq!(work.states_of(batch).await, ["queued 1"]);
    assert_eq!(work.show(run).await.expires_at, work.now().plus(HOUR));
    assert_eq!(work.moves(run).await, ["scheduled>scheduled", "scheduled>queued"]);
}

#[tokio::test]
async fn where_no_window_concerns_it_work_that_heeds_them_begins_at_once() {
    let work = Work::new().await;
    let batch = work.asked_to_heed(Some(false), None).await;
    assert_eq!(work.states_of(batch.id).await, ["queued 1"]);
}

#[tokio::test]
async fn a_window_that_is_lifted_holds_nothing_any_more() {
    let work = Work::new().await;
    let blackout = work.blackout(86_400).await;
    let batch = work.asked_to_heed(Some(false), None).await.id;
    release_due(work.test.fleet.clone()).await.unwrap();
    assert_eq!(work.states_of(batch).await, ["scheduled 1"]);
    let later = work.asked_to_heed(None, Some(3_600)).await.id;
    let windows = work.test.fleet.windows();
    windows.delete(&work.test.admin(), blackout.id, None).await.unwrap();
    work.advance(1);
    release_due(work.test.fleet.clone()).await.unwrap();
    assert_eq!(work.states_of(batch).await, ["queued 1"]);
    assert_eq!(
        work.states_of(later).await,
        ["scheduled 1"],
        "its own time has not come"
    );
}

/// How a run of an hour's patience stands when a window with this policy meets it, at once and then after so many seconds each.
async fn check(window: serde_json::Value, expected: &[(u64, &str)]) -> (Work, RunId) {
    let work = Work::new().await;
    work.window(window).await;
    let batch = work.asked_to_heed(Some(false), None).await.id;
    let run = work.only_run_of(batch).await.id;
    let mut passed = 0;
    for (at, state) in expected {
        work.advance(at - passed);
        passed = *at;
        release_due(work.test.fleet.clone()).await.unwrap();
        work.sweep().await;
        assert_eq!(work.state(run).await.name(), *state, "after {at} s");
    }
    (work, run)
}

/// A blackout that has begun and lasts for three hours.
fn frozen(outside: serde_json::Value) -> serde_json::Value {
    let times = serde_json::json!({
        "type": "once", "starts_at": "2027-01-15T07:00:00Z", "ends_at": "2027-01-15T11:00:00Z",
    });
    serde_json::json!({
        "name": "freeze", "kind": "blackout", "scope": {"all": true}, "when": times, "outside": outside,
    })
}

#[tokio::test]
async fn work_that_a_window_postpones_expires_when_it_has_waited_for_too_long() {
    let ten_minutes = serde_json::json!({"policy": "postpone", "give_up_after_seconds": 600});
    let (work, run) = check(
        frozen(ten_minutes),
        &[(0, "scheduled"), (599, "scheduled"), (601, "expired")],
    )
    .await;
    assert_eq!(work.moves(run).await.last().unwrap(), "scheduled>expired");
    let long = serde_json::json!({"policy": "postpone", "give_up_after_seconds": 4 * 3_600});
    check(
        frozen(long),
        &[(0, "scheduled"), (3 * 3_600 - 1, "scheduled"), (3 * 3_600, "queued")],
    )
    .await;
}

#[tokio::test]
async fn work_that_a_window_lets_pass_begins_at_once_and_its_history_says_why() {
    let (work, run) = check(frozen(serde_json::json!({"policy": "allow"})), &[(0, "queued")]).await;
    let events = work.test.fleet.runs();
    let page = events.events(&work.test.admin(), run, &PageRequest::default()).await;
    let reasons: Vec<_> = page
        .unwrap()
        .items
        .into_iter()
        .filter_map(|event| event.reason)
        .collect();
    assert!(reasons.iter().any(|reason| reason.contains("“freeze”")), "{reasons:?}");
}

#[tokio::test]
async fn work_for_which_no_window_opens_any_more_expires_at_once_and_says_so() {
    let times = serde_json::json!({
        "type": "recurring", "cron": "0 3 30 2 *", "duration_seconds": 3_600,
    });
    let work = Work::new().await;
    let never = serde_json::json!({"name": "never", "kind": "maintenance", "scope": {"all": true}, "when": times});
    let refused = work.test.fleet.windows();
    let refused = refused
        .create(&work.test.admin(), &serde_json::from_value(never).unwrap())
        .await;
    assert!(refused.is_err(), "one that never opens is refused");
    // One that was open once, and is over by the time that work comes.
    let once = serde_json::json!({
        "type": "once", "starts_at": "2027-01-15T08:00:00Z", "ends_at": "2027-01-15T08:01:00Z",
    });
    let once = serde_json::json!({"name": "once", "kind": "maintenance", "scope": {"all": true}, "when": once});
    work.window(once).await;
    work.advance(61);
    let batch = work.asked_to_heed(Some(false), None).await.id;
    release_due(work.test.fleet.clone()).await.unwrap();
    assert_eq!(work.states_of(batch).await, ["expired 1"]);
    let run = work.only_run_of(batch).await;
    assert_eq!(work.moves(run.id).await.last().unwrap(), "scheduled>expired");
}
