//! Blobs over a store in memory.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutPayload, path::Path};

use super::{
    BLOB_DAMAGED, BLOB_LEAVING, BLOB_TOO_LARGE, BLOB_UNAVAILABLE, BLOBS_CLEAN, Blob, BlobDigest, BlobId, BlobRef,
    BlobService, clean,
};
use crate::{
    Fleet,
    access::Context,
    agents::{AgentRelease, AgentReleaseId, ReleaseSource},
    devices::testing::{TestFleet, fails},
    kernel::{Error, MasterKey, Result, SeededRandom, Timestamp},
    protocol::{AgentVersion, Sha256Digest},
    store::{Evidence, memory::MemoryStore},
};

const DAY: u64 = 86_400;

struct World {
    test: TestFleet,
}

impl World {
    async fn new() -> Self {
        Self {
            test: TestFleet::new().await,
        }
    }

    async fn take(&self, content: &[u8]) -> Result<BlobRef> {
        let parts: Vec<_> = content
            .chunks(100_000)
            .map(|part| Ok(Bytes::copy_from_slice(part)))
            .collect();
        let limit = 20 << 20;
        self.test
            .fleet
            .blobs()
            .take("text/plain", limit, stream::iter(parts))
            .await
    }

    async fn read(&self, blob: &BlobRef) -> Result<Vec<u8>> {
        let parts: Vec<Bytes> = self.test.fleet.blobs().open(blob).await?.try_collect().await?;
        Ok(parts.concat())
    }

    /// Something that refers to a blob.
    async fn refer(&self, blob: &BlobRef) -> Result<AgentReleaseId> {
        let (version, sha256) = (AgentVersion::new(1, 0, 0), Sha256Digest::from_bytes([7; 32]));
        let id = AgentReleaseId::of("linux-x86_64", &version, sha256);
        let (version, context) = (&version, Context::system("test"));
        let store = self.test.fleet.store();
        store
            .change(&context, Evidence::Audit(BLOBS_CLEAN), |mut tx| async move {
                BlobService::refer(&mut tx, blob).await?;
                tx.replace(&AgentRelease {
                    id,
                    version: version.clone(),
                    platform: "linux-x86_64".into(),
                    blob: blob.clone(),
                    sha256,
                    source: ReleaseSource::Uploaded,
                    created_by: tx.context().actor().clone(),
                    created_at: tx.now(),
                    withdrawn_at: None,
                })?;
                tx.commit().await
            })
            .await?;
        Ok(id)
    }

    async fn let_go(&self, id: AgentReleaseId) {
        let context = Context::system("test");
        let store = self.test.fleet.store();
        let change = store.change(&context, Evidence::Audit(BLOBS_CLEAN), |mut tx| async move {
            tx.remove::<AgentRelease>(id);
            tx.commit().await
        });
        change.await.unwrap();
    }

    async fn clean_after(&self, seconds: u64) {
        self.test.advance(seconds);
        clean::clean(&self.test.fleet).await.unwrap();
    }

    /// The paths of all objects.
    async fn objects(&self) -> Vec<String> {
        let listed = self.test.objects.list(None).map_ok(|found| found.location.to_string());
        let mut paths: Vec<_> = listed.try_collect().await.unwrap();
        paths.sort();
        paths
    }

    async fn known(&self, blob: &BlobRef) -> Option<Blob> {
        let found = self
            .test
            .fleet
            .store()
            .get::<Blob>(BlobId::of(blob.digest))
            .await
            .unwrap();
        found.map(|blob| blob.value)
    }
}

#[tokio::test]
async fn a_blob_comes_out_as_it_went_in_and_stands_under_its_digest() {
    let world = World::new().await;
    for size in [0, 1, 99, 512 << 10, (512 << 10) + 1, (5 << 20) + 3, 11 << 20] {
        let content: Vec<u8> = (0..size).map(|n: usize| (n % 251) as u8).collect();
        let blob = world.take(&content).await.unwrap();
        assert_eq!((blob.size_bytes, &*blob.media_type), (size as u64, "text/plain"));
        assert!(world.read(&blob).await.unwrap() == content, "{size}");
        let digest = blake3::hash(&content).to_hex();
        assert_eq!(blob.digest.to_string(), digest.as_str());
        assert!(world.objects().await.contains(&format!("{}/{digest}", &digest[..2])));
    }
    assert_eq!(world.objects().await.len(), 7);
    let again = world.take(b"\0").await.unwrap();
    assert_eq!((world.objects().await.len(), again.size_bytes), (7, 1));
}

#[tokio::test]
async fn what_is_too_large_or_breaks_off_leaves_nothing_behind() {
    let world = World::new().await;
    let blobs = world.test.fleet.blobs();
    let part = || Ok(Bytes::from(vec![1; 600]));
    let fits = stream::iter([part(), part()]);
    assert_eq!(blobs.take("a/b", 1_200, fits).await.unwrap().size_bytes, 1_200);
    let large = stream::iter([part(), part()]);
    fails(blobs.take("a/b", 1_199, large).await, BLOB_TOO_LARGE);
    let broken = stream::iter([part(), Err(Error::internal("the line is gone"))]);
    assert!(blobs.take("a/b", 9_999, broken).await.is_err());
    assert_eq!(world.objects().await.len(), 1);
}

#[tokio::test]
async fn damage_ends_the_stream_before_its_last_part() {
    let world = World::new().await;
    let content = vec![7; 2 << 20];
    let blob = world.take(&content).await.unwrap();
    let path = blob.digest.path();
    let put = async |bytes: Vec<u8>| world.test.objects.put(&path, PutPayload::from(bytes)).await.unwrap();
    let mut damaged = content.clone();
    damaged[3] ^= 1;
    put(damaged).await;
    let parts: Vec<Result<Bytes>> = world.test.fleet.blobs().open(&blob).await.unwrap().collect().await;
    assert_eq!(parts.len(), 4);
    assert_eq!(parts[3].as_ref().unwrap_err().code(), BLOB_DAMAGED);
    assert!(parts[..3].iter().all(|part| part.is_ok()));
    // Taking the same content in again mends it.
    world.take(&content).await.unwrap();
    assert!(world.read(&blob).await.unwrap() == content);
    put(content[1..].to_vec()).await;
    fails(world.read(&blob).await, BLOB_DAMAGED);
    world.test.objects.delete(&path).await.unwrap();
    fails(world.read(&blob).await, BLOB_DAMAGED);
}

#[tokio::test]
async fn nobody_refers_to_it_for_seven_days_and_it_goes() {
    let world = World::new().await;
    let blob = world.take(b"content").await.unwrap();
    let holder = world.refer(&blob).await.unwrap();
    world.clean_after(100 * DAY).await;
    assert_eq!(world.known(&blob).await.unwrap().unreferenced_since, None);
    world.let_go(holder).await;
    world.clean_after(0).await;
    world.clean_after(7 * DAY - 1).await;
    assert_eq!(world.objects().await.len(), 1);
    // Somebody refers to it again: the time begins anew.
    let holder = world.refer(&blob).await.unwrap();
    world.clean_after(DAY).await;
    world.let_go(holder).await;
    world.clean_after(0).await;
    world.clean_after(7 * DAY - 1).await;
    assert_eq!(world.known(&blob).await.unwrap().leaving_since, None);
    world.clean_after(1).await;
    // Now it is leaving, and nobody gets it back.
    assert!(world.known(&blob).await.unwrap().leaving_since.is_some());
    fails(world.take(b"content").await, BLOB_LEAVING);
    fails(world.refer(&blob).await, BLOB_LEAVING);
    world.clean_after(3_600).await;
    assert!(world.objects().await.is_empty());
    assert_eq!(world.known(&blob).await, None);
    // And from the beginning.
    let blob = world.take(b"content").await.unwrap();
    world.refer(&blob).await.unwrap();
    assert_eq!(world.read(&blob).await.unwrap(), b"content");
    let cleaned = world.test.actions().await;
    let idle = world.test.seq().await;
    world.clean_after(DAY).await;
    assert_eq!(
        (world.test.actions().await, world.test.seq().await),
        (cleaned, idle),
        "nothing to do, nothing said"
    );
}

#[tokio::test]
async fn what_interrupted_requests_left_goes_too() {
    let world = World::new().await;
    let objects = &world.test.objects;
    // Taken in, and nobody came to refer to it.
    let left = world.take(b"left").await.unwrap();
    let half = Path::from("incoming/half");
    objects.put(&half, PutPayload::from_static(b"ha")).await.unwrap();
    let foreign = Path::from("lost+found/README");
    objects
        .put(&foreign, PutPayload::from_static(b"not ours"))
        .await
        .unwrap();
    // Objects have the machine's time; the fleet's is set by it.
    let written = objects.head(&half).await.unwrap().last_modified;
    let written = Timestamp::from_micros(written.timestamp_micros());
    world.test.clock.set(written.plus(Duration::from_secs(DAY - 60)));
    clean::adopt(&world.test.fleet).await.unwrap();
    assert_eq!((world.objects().await.len(), world.known(&left).await), (3, None));
    world.test.advance(120);
    clean::adopt(&world.test.fleet).await.unwrap();
    assert!(!world.objects().await.contains(&half.to_string()));
    assert!(world.known(&left).await.unwrap().unreferenced_since.is_some());
    world.clean_after(7 * DAY).await;
    world.clean_after(3_600).await;
    assert_eq!(world.objects().await, [foreign.to_string()], "what is not ours stays");
}

#[tokio::test]
async fn without_a_place_for_blobs_nothing_is_taken_in() {
    let test = TestFleet::new().await;
    let backend = std::sync::Arc::new(MemoryStore::new(test.clock.clone()));
    let key = MasterKey::generate(&SeededRandom::new(1));
    let fleet = Fleet::builder(backend, key)
        .clock(test.clock.clone())
        .open()
        .await
        .unwrap();
    let blobs = fleet.blobs();
    let taken = blobs.take("a/b", 10, stream::iter([Ok(Bytes::from_static(b"x"))]));
    fails(taken.await, BLOB_UNAVAILABLE);
    clean::clean(&fleet).await.unwrap();
    clean::adopt(&fleet).await.unwrap();
}

#[test]
fn a_digest_has_one_way_to_be_written() {
    let text = "0a".repeat(32);
    assert_eq!(BlobDigest::parse(&text).unwrap().to_string(), text);
    for bad in ["", &"0A".repeat(32), &"0a".repeat(31), &"0g".repeat(32)] {
        assert_eq!(BlobDigest::parse(bad), None, "{bad}");
    }
}
