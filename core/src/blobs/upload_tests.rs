//! Contents that parameters name.

use bytes::Bytes;
use futures::stream;
use serde_json::json;

use super::{
    BLOB_NOT_FOUND, BLOB_TOO_LARGE, BLOB_TOO_MANY, Blob, BlobDigest, BlobId, BlobView, MAX_CONTENT, clean,
    upload::MAX_UNNAMED,
};
use crate::{
    access::Role,
    devices::testing::{TestFleet, fails},
    kernel::Result,
    work::{
        BatchRequest,
        batch::Targets,
        desired::{DesiredState, actions::NewAction},
    },
};

const DAY: u64 = 86_400;

async fn upload(test: &TestFleet, content: &'static [u8]) -> Result<BlobView> {
    let body = stream::iter([Ok(Bytes::from_static(content))]);
    test.fleet.blobs().upload(&test.admin(), body).await
}

/// Since how many days nobody names it; nothing when somebody does, and an error when it is gone or leaving.
async fn unnamed(test: &TestFleet, blob: &BlobView) -> std::result::Result<Option<u64>, &'static str> {
    let found = test.fleet.store().get::<Blob>(BlobId::of(blob.digest)).await.unwrap();
    let found = found.ok_or("gone")?.value;
    match (found.leaving_since, found.unreferenced_since) {
        (Some(_), _) => Err("leaving"),
        (None, since) => Ok(since.map(|since| test.clock_now().since(since).as_secs() / DAY)),
    }
}

async fn clean_after(test: &TestFleet, days: u64) {
    test.advance(days * DAY);
    clean::clean(&test.fleet).await.unwrap();
}

fn action(digest: BlobDigest) -> NewAction {
    NewAction {
        name: "Film".into(),
        description: String::new(),
        operation: "file".into(),
        params: json!({"path": "/opt/film", "content_blob": digest}).into(),
        state: DesiredState::Present,
        timeout_seconds: None,
        rhythm: None,
    }
}

#[tokio::test]
async fn what_nobody_names_goes_after_seven_days_and_another_upload_begins_them_anew() {
    let test = TestFleet::new().await;
    let blob = upload(&test, b"film").await.unwrap();
    clean_after(&test, 5).await;
    assert_eq!(unnamed(&test, &blob).await, Ok(Some(5)));
    assert_eq!(upload(&test, b"film").await.unwrap(), blob);
    clean_after(&test, 5).await;
    assert_eq!(unnamed(&test, &blob).await, Ok(Some(5)));
    clean_after(&test, 2).await;
    assert_eq!(unnamed(&test, &blob).await, Err("leaving"));
    fails(test.fleet.blobs().content(blob.digest).await, BLOB_NOT_FOUND);
}

#[tokio::test]
async fn as_many_wait_to_be_named_as_there_may_be() {
    let test = TestFleet::new().await;
    let mut last = None;
    for n in 0..MAX_UNNAMED {
        let content = Bytes::from(n.to_be_bytes().to_vec());
        let body = stream::iter([Ok(content)]);
        last = Some(test.fleet.blobs().upload(&test.admin(), body).await.unwrap());
    }
    fails(upload(&test, b"film").await, BLOB_TOO_MANY);
    let named = action(last.unwrap().digest);
    let actions = test.fleet.desired().actions().create(&test.admin(), &named).await;
    actions.unwrap();
    upload(&test, b"film").await.unwrap();
    fails(upload(&test, b"another").await, BLOB_TOO_MANY);
    clean_after(&test, 7).await;
    upload(&test, b"another").await.unwrap();
}

#[tokio::test]
async fn what_was_named_once_takes_no_room_from_what_is_uploaded() {
    let test = TestFleet::new().await;
    let (blob, admin) = (upload(&test, b"film").await.unwrap(), test.admin());
    let desired = test.fleet.desired();
    let made = desired.actions().create(&admin, &action(blob.digest)).await.unwrap();
    desired.actions().delete(&admin, made.id, None, false).await.unwrap();
    clean_after(&test, 0).await;
    assert_eq!(unnamed(&test, &blob).await, Ok(Some(0)));
    let found = test.fleet.store().get::<Blob>(BlobId::of(blob.digest)).await.unwrap();
    assert_eq!(found.unwrap().value.unnamed_since, None);
}

#[tokio::test]
async fn it_stays_while_an_action_names_it() {
    let test = TestFleet::new().await;
    let (blob, admin) = (upload(&test, b"film").await.unwrap(), test.admin());
    let desired = test.fleet.desired();
    let actions = desired.actions();
    let made = actions.create(&admin, &action(blob.digest)).await.unwrap();
    assert_eq!(unnamed(&test, &blob).await, Ok(None));
    clean_after(&test, 400).await;
    assert_eq!(unnamed(&test, &blob).await, Ok(None));
    actions.delete(&admin, made.id, None, false).await.unwrap();
    clean_after(&test, 0).await;
    assert_eq!(unnamed(&test, &blob).await, Ok(Some(0)));
    clean_after(&test, 7).await;
    assert_eq!(unnamed(&test, &blob).await, Err("leaving"));
}

#[tokio::test]
async fn it_stays_while_a_batch_names_it() {
    let test = TestFleet::new().await;
    let device = test.device("web-1").await;
    let blob = upload(&test, b"film").await.unwrap();
    let request = |digest| BatchRequest {
        operation: "file".into(),
        params: json!({"path": "/opt/film", "content_blob": digest}).into(),
        targets: Targets::devices(vec![device]),
        ..BatchRequest::default()
    };
    let batches = test.fleet.batches();
    batches
        .create(&test.admin(), &request(blob.digest), None)
        .await
        .unwrap();
    clean_after(&test, 100).await;
    assert_eq!(unnamed(&test, &blob).await, Ok(None));
    // And one that is not there is named by nobody.
    let missing = request(BlobDigest::from_bytes([7; 32]));
    fails(batches.create(&test.admin(), &missing, None).await, BLOB_NOT_FOUND);
}

#[tokio::test]
async fn who_may_upload_and_how_much_is_said_before_it_is_kept() {
    let test = TestFleet::new().await;
    let whole: &'static [u8] = vec![0; usize::try_from(MAX_CONTENT).unwrap()].leak();
    let more: &'static [u8] = vec![0; usize::try_from(MAX_CONTENT).unwrap() + 1].leak();
    assert_eq!(upload(&test, whole).await.unwrap().size_bytes, MAX_CONTENT);
    fails(upload(&test, more).await, BLOB_TOO_LARGE);
    let viewer = test.role(Role::Viewer);
    assert!(test.fleet.blobs().check_may_upload(&viewer).is_err());
    assert!(test.fleet.blobs().check_may_upload(&test.role(Role::Operator)).is_ok());
}
