//! Work that does not wait for devices that are offline.

use super::*;
use crate::{devices::presence::DeviceBeat, work::batch::release_due};

/// Two devices, of which the second is online, and the states of the runs that both get: each when the first is asked, then when its time
/// has come.
async fn check(request: BatchRequest, at_first: &[&str], in_time: &[&str]) {
    let work = Work::new().await;
    let online = work.test.device("web-2").await;
    let request = BatchRequest {
        operation: "shell".into(),
        params: serde_json::json!({"script": "true"}).into(),
        targets: Targets::devices(vec![work.device, online]),
        start_at: request.start_at.map(|_| work.now().plus(Duration::from_secs(60))),
        ..request
    };
    beat(&work, online).await;
    let batch = work.create(&request).await.unwrap().id;
    assert_eq!(work.states_of(batch).await, at_first);
    work.advance(60);
    beat(&work, online).await;
    release_due(work.test.fleet.clone()).await.unwrap();
    assert_eq!(work.states_of(batch).await, in_time);
}

async fn beat(work: &Work, device: DeviceId) {
    let presence = work.test.fleet.presence();
    presence.beat(device, DeviceBeat::default()).await.unwrap();
    presence.sweep().await.unwrap();
}

fn skipping() -> BatchRequest {
    BatchRequest {
        expires_in_seconds: Some(0),
        ..BatchRequest::default()
    }
}

#[tokio::test]
async fn who_is_offline_is_skipped_at_once() {
    let left = ["queued 1", "skipped 1"];
    check(skipping(), &left, &left).await;
    check(BatchRequest::default(), &["queued 2"], &["queued 2"]).await;
}

#[tokio::test]
async fn who_is_offline_when_its_time_comes_is_skipped_then() {
    let later = BatchRequest {
        start_at: Some(Timestamp::from_seconds(0)),
        ..skipping()
    };
    check(later, &["scheduled 2"], &["queued 1", "skipped 1"]).await;
}

#[tokio::test]
async fn waves_go_on_past_those_that_are_skipped() {
    let work = Work::new().await;
    let devices = [vec![work.device], work.test.devices(2).await].concat();
    let rollout = serde_json::json!({"waves": [{"type": "count", "devices": 1}]});
    let request = BatchRequest {
        rollout: Some(serde_json::from_value(rollout).unwrap()),
        targets: Targets::devices(devices),
        ..BatchRequest {
            expires_in_seconds: Some(0),
            ..work.request("true")
        }
    };
    let batch = work.create(&request).await.unwrap().id;
    assert_eq!(work.states_of(batch).await, ["skipped 3"]);
}

#[tokio::test]
async fn what_is_left_of_it_ends_where_its_device_stays_busy() {
    let work = Work::new().await;
    beat(&work, work.device).await;
    let batch = work
        .create(&BatchRequest {
            expires_in_seconds: Some(0),
            ..work.request("true")
        })
        .await
        .unwrap()
        .id;
    let run = work.only_run_of(batch).await;
    assert_eq!(
        (run.state, run.expires_at),
        (State::Queued, work.now().plus(Duration::from_secs(3_600)))
    );
    work.advance(3_601);
    work.sweep().await;
    assert_eq!(work.states_of(batch).await, ["expired 1"]);
}

#[tokio::test]
async fn a_reboot_of_a_device_that_is_offline_does_not_wait_for_it() {
    let work = Work::new().await;
    let request = BatchRequest {
        operation: "reboot".into(),
        params: serde_json::json!({}).into(),
        ..work.request("true")
    };
    let batch = work.create(&request).await.unwrap();
    assert_eq!(work.states_of(batch.id).await, ["skipped 1"]);
    assert!(batch.finished);
    let run = work.only_run_of(batch.id).await;
    assert_eq!(work.moves(run.id).await, ["queued>skipped"]);
}
