//! Asking for work.

use super::*;
use crate::{
    access::{Actor, Role},
    kernel::{EntityId as _, MAX_LIMIT},
    store::Query,
    work::{
        Batch,
        batch::{MAX_TARGETS, batch_id_for_key, expand_stalled},
    },
};

#[track_caller]
fn check_refused<T: std::fmt::Debug>(outcome: Result<T>, code: &str) {
    assert_eq!(outcome.unwrap_err().code().name(), code);
}

#[tokio::test]
async fn a_batch_has_a_queued_run_for_each_device_and_one_audit_entry() {
    let work = Work::new().await;
    let devices = work.test.devices(20).await;
    let after_devices = work.test.actions().await.len();
    work.advance(1);
    let request = BatchRequest {
        targets: Targets::devices(devices.clone()),
        ..work.request("true")
    };
    let batch = work.create(&request).await.unwrap();
    assert_eq!((batch.runs, batch.finished), (20, false));
    assert_eq!(
        batch.states,
        [crate::work::run::StateCount {
            state: State::Queued,
            runs: 20
        }]
    );
    let actions = work.test.actions().await;
    assert_eq!(actions[after_devices..], ["batch.create"]);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_and_nothing_is_written() {
    let work = Work::new().await;
    let audited = work.test.actions().await.len();
    let unknown = BatchRequest {
        operation: "reboot.the.moon".into(),
        ..work.request("true")
    };
    check_refused(work.create(&unknown).await, "operation.unknown");
    let wrong = BatchRequest {
        params: serde_json::json!({"scrip": "true"}).into(),
        ..work.request("true")
    };
    check_refused(work.create(&wrong).await, "operation.params_invalid");
    let nobody = BatchRequest {
        targets: Targets::devices(vec![]),
        ..work.request("true")
    };
    check_refused(work.create(&nobody).await, "request.invalid");
    let stranger = DeviceId::new(work.now(), &crate::kernel::SeededRandom::new(99));
    let other = BatchRequest {
        targets: Targets::devices(vec![work.device, stranger]),
        ..work.request("true")
    };
    check_refused(work.create(&other).await, "batch.target_not_found");
    let random = crate::kernel::SeededRandom::new(98);
    let many = (0..=MAX_TARGETS).map(|_| DeviceId::new(work.now(), &random)).collect();
    check_refused(
        work.create(&BatchRequest {
            targets: Targets::devices(many),
            ..work.request("true")
        })
        .await,
        "request.invalid",
    );
    for timeout in [0, 86_401] {
        check_refused(
            work.create(&BatchRequest {
                timeout_seconds: Some(timeout),
                ..work.request("true")
            })
            .await,
            "request.invalid",
        );
    }
    let viewer = work.test.role(Role::Viewer);
    check_refused(
        work.test
            .fleet
            .batches()
            .create(&viewer, &work.request("true"), None)
            .await,
        "access.denied",
    );
    assert_eq!(work.test.actions().await.len(), audited);
    let runs = work
        .test
        .fleet
        .runs()
        .list(&work.test.admin(), &RunFilter::default(), &PageRequest::default())
        .await
        .unwrap();
    assert!(runs.items.is_empty());
}

/// So many that their runs are made in three steps.
const MANY: usize = 1_100;

async fn request_for_many(work: &Work) -> BatchRequest {
    let mut devices = work.test.devices(MANY).await;
    devices.sort_unstable();
    work.advance(1);
    BatchRequest {
        targets: Targets::devices(devices),
        confirm_devices: Some(MANY as u64),
        ..work.request("true")
    }
}

async fn devices_with_a_run(work: &Work, batch: BatchId) -> Vec<DeviceId> {
    let query = Query::<Run>::all().filter(Run::BATCH.eq(batch.uuid()));
    let (mut devices, mut cursor) = (Vec::new(), None);
    loop {
        let page = PageRequest::new(Some(MAX_LIMIT), cursor).unwrap();
        let page = work
            .test
            .fleet
            .store()
            .reader()
            .await
            .unwrap()
            .list(&query, &page)
            .await
            .unwrap();
        devices.extend(page.items.iter().map(|run| run.device));
        cursor = page.next;
        if cursor.is_none() {
            devices.sort_unstable();
            return devices;
        }
    }
}

#[tokio::test]
async fn runs_for_many_devices_are_made_in_steps_and_the_audit_says_so() {
    let work = Work::new().await;
    let request = request_for_many(&work).await;
    let audited = work.test.actions().await.len();
    let batch = work.create(&request).await.unwrap();
    assert_eq!((batch.runs, batch.finished), (MANY as u64, false));
    assert_eq!(batch.states.iter().map(|count| count.runs).sum::<u64>(), MANY as u64);
    assert_eq!(devices_with_a_run(&work, batch.id).await, request.targets.devices);
    let stored = work.test.fleet.store().get::<Batch>(batch.id).await.unwrap().unwrap();
    let mut hasher = blake3::Hasher::new();
    for device in &request.targets.devices {
        hasher.update(stored.run_on(*device).uuid().as_bytes());
    }
    assert_eq!(stored.runs_digest, hasher.finalize().to_hex().to_string());
    assert_eq!(stored.expanding_since, None);
    let mut actions = work.test.actions().await.split_off(audited);
    actions.sort_unstable();
    // Two steps after the first, and that it is complete.
    assert_eq!(
        actions,
        ["batch.create", "batch.expand", "batch.expand", "batch.expand"]
    );
}

#[tokio::test]
async fn an_interrupted_batch_is_gone_on_with_and_nobody_gets_a_run_twice() {
    let work = Work::new().await;
    let request = request_for_many(&work).await;
    let fleet = &work.test.fleet;
    let key = batch_id_for_key(&Actor::Anonymous, "/batches", "cut");
    // Whoever asked is gone as soon as the batch is there.
    drop(
        fleet
            .batches()
            .begin(&work.test.admin(), &request, Some(key))
            .await
            .unwrap(),
    );
    let made = devices_with_a_run(&work, key).await.len();
    assert!((1..MANY).contains(&made), "{made}");
    let shown = fleet.batches().show(&work.test.admin(), key).await.unwrap();
    assert_eq!((shown.runs, shown.finished), (MANY as u64, false));

    expand_stalled(fleet.clone()).await.unwrap();
    assert_eq!(
        devices_with_a_run(&work, key).await.len(),
        made,
        "its maker may be at it"
    );
    work.advance(61);
    let (first, second) = futures::join!(expand_stalled(fleet.clone()), expand_stalled(fleet.clone()));
    first.and(second).unwrap();
    assert_eq!(devices_with_a_run(&work, key).await, request.targets.devices);
    expand_stalled(fleet.clone()).await.unwrap();
    assert_eq!(devices_with_a_run(&work, key).await.len(), MANY);
}

#[tokio::test]
async fn a_device_that_goes_meanwhile_has_a_run_that_expires() {
    let work = Work::new().await;
    let request = request_for_many(&work).await;
    let gone = *request.targets.devices.last().unwrap();
    let fleet = &work.test.fleet;
    let batch = BatchId::new(work.now(), &crate::kernel::SeededRandom::new(5));
    drop(
        fleet
            .batches()
            .begin(&work.test.admin(), &request, Some(batch))
            .await
            .unwrap(),
    );
    fleet.devices().delete(&work.test.admin(), gone, None).await.unwrap();
    work.advance(61);
    expand_stalled(fleet.clone()).await.unwrap();
    assert_eq!(devices_with_a_run(&work, batch).await, request.targets.devices);
    work.advance(7_200);
    work.sweep().await;
    work.sweep().await;
    let shown = fleet.batches().show(&work.test.admin(), batch).await.unwrap();
    assert!(shown.finished, "{:?}", shown.states);
}

#[tokio::test]
async fn a_device_named_twice_gets_one_run() {
    let work = Work::new().await;
    let request = BatchRequest {
        targets: Targets::devices(vec![work.device, work.device]),
        ..work.request("true")
    };
    assert_eq!(work.create(&request).await.unwrap().runs, 1);
}

#[tokio::test]
async fn a_key_makes_one_batch_however_often_it_is_sent() {
    let work = Work::new().await;
    let (fleet, admin) = (&work.test.fleet, work.test.admin());
    let key = batch_id_for_key(&Actor::Anonymous, "/batches", "k1");
    let first = fleet
        .batches()
        .create(&admin, &work.request("true"), Some(key))
        .await
        .unwrap();
    let again = fleet
        .batches()
        .create(&admin, &work.request("true"), Some(key))
        .await
        .unwrap();
    assert_eq!((first.id, first.runs), (again.id, again.runs));
    check_refused(
        fleet.batches().create(&admin, &work.request("false"), Some(key)).await,
        "idempotency.key_reused",
    );
    assert_ne!(key, batch_id_for_key(&Actor::Anonymous, "/batches", "k2"));
    assert_ne!(
        key,
        batch_id_for_key(&Actor::System { part: "x".into() }, "/batches", "k1")
    );
    let runs = fleet
        .runs()
        .list(&admin, &RunFilter::default(), &PageRequest::default())
        .await
        .unwrap();
    assert_eq!(runs.items.len(), 1);
}

#[tokio::test]
async fn many_at_once_with_one_key_make_one_batch() {
    let work = Work::new().await;
    let key = batch_id_for_key(&Actor::Anonymous, "/batches", "race");
    let (admin, request, fleet) = (work.test.admin(), work.request("true"), &work.test.fleet);
    let tries = futures::future::join_all((0..8).map(|_| {
        let (admin, request) = (&admin, &request);
        async move { fleet.batches().create(admin, request, Some(key)).await }
    }))
    .await;
    assert!(
        tries
            .iter()
            .all(|batch| batch.as_ref().is_ok_and(|batch| batch.runs == 1))
    );
    let runs = fleet
        .runs()
        .list(&admin, &RunFilter::default(), &PageRequest::default())
        .await
        .unwrap();
    assert_eq!(runs.items.len(), 1);
}

#[tokio::test]
async fn the_most_devices_that_one_request_may_name_take_a_few_dozen_commits() {
    let work = Work::new().await;
    let devices = work.test.devices(MAX_TARGETS).await;
    let before = work.test.seq().await;
    let request = BatchRequest {
        targets: Targets::devices(devices),
        confirm_devices: Some(MAX_TARGETS as u64),
        ..work.request("true")
    };
    let batch = work.create(&request).await.unwrap();
    assert_eq!(work.states_of(batch.id).await, [format!("queued {MAX_TARGETS}")]);
    let commits = work.test.seq().await - before;
    assert!(commits <= 36, "{commits}");
}
