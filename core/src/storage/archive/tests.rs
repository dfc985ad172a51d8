use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, memory::InMemory};

use super::*;
use crate::{
    access::Context,
    blobs::{BLOBS_CLEAN, BlobRef, BlobService},
    devices::testing::TestFleet,
    kernel::{ManualClock, Timestamp},
    modules,
    storage::{
        Filling, Restored,
        ports::{BackupSink, BackupSource},
    },
    store::{self, Backend, Evidence, Phase, Schema, memory::MemoryStore},
};

#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Vec<u8>>>);

#[async_trait]
impl BackupSink for Shelf {
    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

/// A file that comes in pieces.
struct Pieces(VecDeque<Bytes>);

impl Pieces {
    fn of(bytes: &[u8], size: usize) -> Box<Self> {
        Box::new(Self(bytes.chunks(size).map(Bytes::copy_from_slice).collect()))
    }
}

#[async_trait]
impl BackupSource for Pieces {
    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.pop_front())
    }
}

fn schema() -> Schema {
    modules::schema(&modules::built_in()).unwrap()
}

fn header() -> Header {
    Header {
        made_at: Timestamp::EPOCH,
        version: "0.1.0".into(),
        backend: "memory".into(),
        seq: 0,
        key: KeyPart::LeftOut { id: "k".into() },
        blobs: true,
    }
}

/// What the blobs of the backup hold: the second comes in several parts.
fn contents() -> [Vec<u8>; 2] {
    [
        b"a small one".to_vec(),
        (0..150_000_u32).flat_map(|n| n.to_le_bytes()).collect(),
    ]
}

async fn keep(test: &TestFleet, content: &[u8]) -> BlobRef {
    let part = futures::stream::iter([Ok(Bytes::copy_from_slice(content))]);
    let blob = test.fleet.blobs().take("text/plain", 10 << 20, part).await.unwrap();
    let (context, kept) = (Context::system("test"), &blob);
    let change = test
        .fleet
        .store()
        .change(&context, Evidence::Audit(BLOBS_CLEAN), |mut tx| async move {
            BlobService::refer(&mut tx, kept).await?;
            tx.commit().await
        });
    change.await.unwrap();
    blob
}

/// The backup of a fleet with some devices, and what is in it.
async fn backup() -> (Vec<u8>, Archived) {
    let test = TestFleet::new().await;
    for n in 0..50 {
        test.fleet
            .enrolment()
            .create_token(
                &Context::system("test"),
                &crate::devices::enrolment::NewEnrolmentToken {
                    name: format!("token {n}"),
                    ..Default::default()
                },
            )
            .await
            .unwrap();
    }
    for content in contents() {
        keep(&test, &content).await;
    }
    let (bytes, archived) = write(&test).await;
    assert_eq!((archived.blobs, archived.blobs_damaged), (2, 0));
    (bytes, archived)
}

async fn write(test: &TestFleet) -> (Vec<u8>, Archived) {
    let mut shelf = Shelf::default();
    let view = test.fleet.store().backend().view().await.unwrap();
    let blobs = test.fleet.blob_objects();
    let archived = write_archive(Content { view, blobs }, &header(), &mut shelf, &|_| {})
        .await
        .unwrap();
    let bytes = shelf.0.lock().unwrap().clone();
    assert_eq!(archived.bytes, bytes.len() as u64);
    (bytes, archived)
}

async fn empty() -> Arc<dyn Backend> {
    let store: Arc<dyn Backend> = Arc::new(MemoryStore::new(Arc::new(ManualClock::new(Timestamp::EPOCH))));
    store.prepare(&schema()).await.unwrap();
    store
}

/// Restores bytes into an empty store; what came of it, and the blobs.
async fn restore_into(bytes: &[u8], piece: usize, objects: &Arc<dyn ObjectStore>) -> Result<Restored, store::Error> {
    let (store, schema) = (empty().await, schema());
    let filling = Filling {
        store: &*store,
        schema: &schema,
        blobs: Some(objects),
        id: uuid::Uuid::from_u128(1),
        from: "a backup".into(),
        at: Timestamp::EPOCH,
    };
    let result = match ArchiveReader::open(Pieces::of(bytes, piece)).await {
        Ok(reader) => crate::storage::restore(reader, filling).await,
        Err(damage) => Err(damage.into()),
    };
    if result.is_err() {
        assert_eq!(
            store.view().await.unwrap().seq(),
            0,
            "nothing is left of what was refused"
        );
    }
    assert_eq!(store.standing().await.unwrap().phase, Phase::Serving);
    result
}

async fn objects_in(objects: &Arc<dyn ObjectStore>) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let listed: Vec<_> = objects.list(None).try_collect().await.unwrap();
    for object in listed {
        found.push(
            objects
                .get(&object.location)
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap()
                .to_vec(),
        );
    }
    found.sort_by_key(Vec::len);
    found
}

fn nowhere() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

async fn restore(bytes: &[u8], piece: usize) -> Result<Restored, store::Error> {
    let objects = nowhere();
    let result = restore_into(bytes, piece, &objects).await;
    let found = objects_in(&objects).await;
    match &result {
        Ok(_) => assert_eq!(found, contents()),
        Err(error) => assert!(found.is_empty(), "{error}"),
    }
    result
}

/// That an altered backup is refused with these words.
async fn check_refused(bytes: &[u8], said: &str) {
    let error = restore(bytes, 65_536).await.unwrap_err().to_string();
    assert!(error.contains(said), "{error}, expected {said:?}");
}

#[tokio::test]
async fn every_cut_is_refused() {
    let (bytes, _) = backup().await;
    for at in (0..bytes.len()).step_by(bytes.len() / 97) {
        let expected = if at < MAGIC.len() + 6 {
            "no backup"
        } else {
            "ends at byte"
        };
        check_refused(&bytes[..at], expected).await;
    }
    check_refused(&bytes[..bytes.len() - 1], "ends at byte").await;
}

#[tokio::test]
async fn every_flipped_bit_is_refused() {
    let (bytes, _) = backup().await;
    for at in (0..bytes.len()).step_by(bytes.len() / 199) {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << (at % 8);
        check_refused(&altered, "").await;
    }
}

#[tokio::test]
async fn what_follows_the_end_a_newer_format_and_other_files_are_refused() {
    let (bytes, _) = backup().await;
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    check_refused(&longer, "goes on after its end").await;
    let mut newer = bytes.clone();
    newer[MAGIC.len()] = 3;
    check_refused(&newer, "format 3").await;
    check_refused(b"PK\x03\x04 something else entirely", "no backup").await;
    check_refused(b"", "no backup").await;
}

#[tokio::test]
async fn a_damaged_backup_says_where() {
    let (mut bytes, _) = backup().await;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    check_refused(&bytes, "damaged at byte").await;
}

#[tokio::test]
async fn a_damaged_blob_is_left_out_and_named_and_the_rest_is_there() {
    let test = TestFleet::new().await;
    let [small, large] = contents();
    keep(&test, &small).await;
    let damaged = keep(&test, &large).await;
    let digits = damaged.digest.to_string();
    let path = object_store::path::Path::from_iter([&digits[..2], digits.as_str()]);
    let objects = test.fleet.blob_objects().unwrap();
    // Its last byte is another; and it is not there at all.
    let mut other = large.clone();
    *other.last_mut().unwrap() ^= 1;
    objects.put(&path, other.into()).await.unwrap();
    for missing in [false, true] {
        if missing {
            objects.delete(&path).await.unwrap();
        }
        let (bytes, archived) = write(&test).await;
        assert_eq!((archived.blobs, archived.blobs_damaged), (1, 1));
        let target = nowhere();
        let restored = restore_into(&bytes, 65_536, &target).await.unwrap();
        assert_eq!((restored.blobs.blobs, restored.blobs.named), (1, vec![damaged.digest]));
        assert_eq!(objects_in(&target).await, std::slice::from_ref(&small));
    }
}

#[tokio::test]
async fn what_was_there_before_a_backup_was_refused_stays() {
    let (bytes, _) = backup().await;
    let target = nowhere();
    restore_into(&bytes, 65_536, &target).await.unwrap();
    restore_into(&bytes[..bytes.len() - 1], 65_536, &target)
        .await
        .unwrap_err();
    assert_eq!(objects_in(&target).await, contents());
}

#[tokio::test]
async fn a_backup_without_the_blob_that_a_document_names_is_refused() {
    let test = TestFleet::new().await;
    keep(&test, b"content").await;
    let mut shelf = Shelf::default();
    let view = test.fleet.store().backend().view().await.unwrap();
    // It says that blobs are in it.
    let written = write_archive(Content { view, blobs: None }, &header(), &mut shelf, &|_| {}).await;
    written.unwrap();
    let bytes = shelf.0.lock().unwrap().clone();
    check_refused(&bytes, "is not in it").await;
}

#[tokio::test]
async fn the_header_is_read_without_any_key() {
    let (bytes, _) = backup().await;
    let reader = ArchiveReader::open(Pieces::of(&bytes, 3)).await.unwrap();
    assert_eq!(*reader.header(), header());
}
